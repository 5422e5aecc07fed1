//! Scenarios: what somebody who runs services would see, through the real program and real sockets.

mod cases;
mod sticky;
mod weights;
