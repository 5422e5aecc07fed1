//! Where configuration comes from: each source tells that something changed, the caller reads it.

pub use system::files as file;
