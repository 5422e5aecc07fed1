//! Scenarios: what somebody who runs services would see, through the real program and real sockets.

mod actions;
mod cases;
mod cors;
mod headers;
mod redirects;
mod retries;
mod sticky;
mod timeouts;
mod weights;
