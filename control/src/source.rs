//! What there is, told as events.

pub mod directory;
