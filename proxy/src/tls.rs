//! TLS: what of it is written, read from files, and spoken.
//!
//! By rustls with the cryptography of AWS-LC. Nothing of it is touched before a configuration asks
//! for it, so that a proxy without TLS does not pay for it in memory.

pub mod certificates;
pub mod server;
