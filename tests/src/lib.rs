//! The harness of the scenarios: the real `meshproxy` as a child process, origins that do what a
//! test tells them, and clients.
//!
//! Everything listens on loopback at a port that was free, and nothing waits for a time: it waits
//! for a condition, with [`wait::PATIENCE`] as the limit. What cannot be done panics with the reason,
//! as this is code of tests alone.

pub mod authority;
pub mod binary;
pub mod body;
pub mod chart;
pub mod client;
pub mod cluster;
pub mod control;
pub mod edge;
pub mod frames;
pub mod gate;
pub mod gateway;
pub mod grpc;
pub mod jwt;
pub mod lines;
pub mod load;
pub mod metrics;
pub mod names;
pub mod netns;
pub mod origin;
pub mod port;
pub mod proxy;
pub mod reply;
pub mod script;
pub mod secured;
pub mod tls;
pub mod wait;
pub mod wire;
pub mod yaml;

pub use authority::{Authority, IdentityDir};
pub use client::{Http1, Http2};
pub use cluster::Cluster;
pub use control::Control;
pub use edge::Edge;
pub use frames::RawHttp2;
pub use gate::Gate;
pub use origin::Origin;
pub use port::Port;
pub use proxy::Proxy;
pub use reply::Reply;
pub use script::Script;
pub use wait::{eventually, soon};
pub use wire::Wire;
