//! That what is told is what happens.

mod agreement;
mod generated;
