//! TLS: what of it is written, read from files, and spoken.
//!
//! By rustls with the cryptography of AWS-LC. Nothing of it is touched before a configuration asks
//! for it, so that a proxy without TLS does not pay for it in memory.

pub mod certificates;
pub mod client;
pub(crate) mod clients;
pub mod facts;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod forwarded;
pub mod gateway;
pub(crate) mod handshakes;
pub(crate) mod hello;
pub mod identity;
pub(crate) mod mutual;
pub(crate) mod pem;
pub(crate) mod refusals;
pub(crate) mod server;
pub(crate) mod verify;
pub(crate) mod words;
pub(crate) mod workload;

use std::sync::Arc;

use config::spiffe::SpiffeId;
use http::HeaderValue;

use crate::tls::clients::{Authorities, Demands};

/// What TLS says of a downstream connection.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    /// What the client asked for; empty if it named nothing.
    pub(crate) server_name: Box<str>,
    /// Whom the client proved to be: the workload of its certificate, if it showed one that is
    /// believed and names one.
    pub(crate) principal: Option<SpiffeId>,
    /// What `x-forwarded-client-cert` says of the certificate, if it showed one that is believed.
    pub(crate) forwarded: Option<HeaderValue>,
    /// What a gateway demanded of the client when it let it in; none if it demanded nothing.
    pub(crate) met: Option<Arc<Demands>>,
}

// === impl Security ===

impl Security {
    /// A client that asked for this name and did not prove who it is.
    pub(crate) fn unproved(server_name: Box<str>) -> Self {
        Self {
            server_name,
            principal: None,
            forwarded: None,
            met: None,
        }
    }

    /// Whether the authorities of the mesh vouch for the principal, and not some that a gateway believes
    /// for clients from outside.
    pub(crate) fn is_of_mesh(&self) -> bool {
        let met = self.met.as_ref();
        met.is_none_or(|demands| demands.authorities == Authorities::Mesh)
    }
}
