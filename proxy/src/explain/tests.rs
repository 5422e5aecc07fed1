//! That what is told is what happens.

mod agreement;
mod generated;
mod scene;
mod services;
