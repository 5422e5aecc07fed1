//! What both programs ask of the machine they run on.
//!
//! - `files`: tells when files or folders changed.
//! - `settle`: when a change is taken by which something would vanish.
//! - `origin`: whether a request comes from a web page that its user did not mean to ask.
//! - `procfs`: memory, processor time and descriptors of this process, as metrics.

pub mod files;
pub mod origin;
pub mod procfs;
pub mod settle;
