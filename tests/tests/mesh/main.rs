//! Scenarios: what somebody who runs services would see, through the real program and real sockets.

mod actions;
mod bodies;
mod breaker;
mod cases;
mod connections;
mod cors;
mod discovery;
mod examples;
mod failures;
mod floods;
mod gibibyte;
mod headers;
mod http1;
mod lifecycle;
mod misbehaviour;
mod protocols;
mod redirects;
mod reload;
mod restarts;
mod retries;
mod seen;
mod sidecar;
mod sticky;
mod timeouts;
mod tls;
mod weights;
