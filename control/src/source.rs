//! What there is: each source tells it as [`Event`](crate::event::Event)s and knows nothing of who
//! takes them.

pub mod directory;
pub mod kubernetes;
