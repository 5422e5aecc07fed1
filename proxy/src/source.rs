//! Where configuration comes from: each source tells that something changed, the caller reads it.

pub mod control;
pub use system::files as file;
