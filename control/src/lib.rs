//! The control plane: gives every proxy what it needs of a mesh, signs certificates, injects sidecars.
//!
//! - `source`: what there is, from Kubernetes or a folder, told as [`event::Event`]s.
//! - `index`: all we know of the mesh; [`index::Generation`] is what it is at one time.
//! - `scope`: what one proxy needs of it; pure.
//! - `session`: what one proxy was told and has acknowledged; pure. `hub`: who is connected, and who is
//!   woken by what.
//! - `stream`: the same over gRPC.
//! - `identity`: who a caller is. `signer`: certificates for those who are known.
//! - `lease`: which of several replicas does what only one may do.
//! - `inject`: adds a proxy to a pod; pure. `admission`: what the API server asks: whether a resource is
//!   right, and how a pod is injected.
//! - `crd`: what the API server is told of the kinds that we read.
//! - `status`: what became of resources and proxies, for people and for Kubernetes. `dashboard` shows it.
//! - `analyze`: what is wrong with files and with what a cluster has. `metrics`: what is counted.
//! - `cli`, `serve`: the program: what was typed, and all of the above wired together.
//!
//! Whatever knows a client, a socket or a clock is at the edge. `index`, `scope` and `session` are
//! functions of what they are given.

pub mod admission;
pub mod analyze;
pub mod cli;
pub mod crd;
pub mod dashboard;
pub mod event;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hub;
pub mod identity;
pub mod index;
pub mod inject;
pub mod lease;
mod limit;
pub mod metrics;
pub mod proto;
pub mod scope;
pub mod serve;
pub mod session;
mod signer;
pub mod source;
mod state_dir;
pub mod status;
pub mod stream;
pub mod token;
