//! The syntax of HTTP/1.1 messages (RFC 9112), as far as both sides of the proxy need it: lines of a
//! head, how they were spelled, and chunks. The request side adds what a server must refuse
//! (`request::server::http1`), the response side what a client must tolerate (`upstream::http1`).

pub mod chunked;
pub(crate) mod interim;
pub(crate) mod line;
pub(crate) mod spelling;
pub(crate) mod target;
