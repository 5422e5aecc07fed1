//! A health check in its compiled form.

use std::net::SocketAddr;

use config::annotation::HealthCheck;

use crate::upstream::endpoint::EndpointAddr;

/// How the endpoints of a destination are checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is written.
    pub written: HealthCheck,
    /// What the request is addressed to.
    pub authority: String,
    /// Whether a check by HTTP speaks HTTP/2, as requests do.
    pub http2: bool,
}

// === impl Check ===

impl Check {
    /// Where an endpoint at `addr` is asked.
    pub(super) fn addr(&self, addr: &EndpointAddr) -> EndpointAddr {
        match (addr, self.written.port) {
            (EndpointAddr::Tcp(addr), Some(port)) => {
                EndpointAddr::Tcp(SocketAddr::new(addr.ip(), port))
            }
            (EndpointAddr::Tcp(_), None) | (EndpointAddr::Unix(_), _) => addr.clone(),
        }
    }
}
