//! meshproxy: the data plane. Read in the order in which a request meets it:
//!
//! - `listener`, `connection`, `request`: a connection is taken, what it speaks is found out, its requests
//!   are served.
//! - `table`: which rule a request meets and where it leads.
//! - `tls`: how TLS is terminated.
//! - `upstream`: one attempt at a destination.
//! - `rate_limit`: what was used of limits.
//! - `telemetry`: what is counted and logged.
//! - `dns_proxy`, `probes`: names that the workload asks for, and what kubelet asks of it.
//!
//! Beside the way: `bootstrap` and `app` (start, reload, stop), `source` (files, control plane),
//! `snapshot` (how a generation reaches the workers), `demand` (what they ask for), `worker` (a thread), `admin`, `check`, `explain`, `expect`,
//! `dev_certs`, `migrate`, `iptables` and `wait` (for people); `drain`, `handover` and `pressure`: how
//! it goes, is replaced, and bears up;
//! `offline` is configuration without a proxy.

pub mod admin;
pub mod app;
pub mod body;
pub mod bootstrap;
pub mod check;
pub mod connection;
pub mod demand;
pub mod dev_certs;
pub mod dns_proxy;
pub mod drain;
pub mod expect;
pub mod explain;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handover;
pub mod inbound;
pub mod io;
pub mod iptables;
pub mod jwks;
pub mod listener;
pub mod message;
pub mod migrate;
pub mod offline;
pub mod pressure;
pub mod probes;
mod protobuf;
pub mod rate_limit;
pub mod request;
pub mod snapshot;
pub mod source;
pub mod table;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wait;
pub mod worker;
