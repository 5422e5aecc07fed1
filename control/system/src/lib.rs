//! What both programs ask of the machine they run on.
//!
//! - `files`: tells when files or folders changed.
//! - `settle`: when a change is taken by which something would vanish.
//! - `procfs`: memory, processor time and descriptors of this process, as metrics.

pub mod files;
pub mod procfs;
pub mod settle;
