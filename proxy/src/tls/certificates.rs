//! Everything that is read from files before a generation is compiled: certificates, keys and
//! authorities.
//!
//! They are read when a configuration is loaded, so that a file that is missing or does not fit is
//! an error at the field that names it, like any other, and changes nothing.

mod gateway;

use std::sync::Arc;

use config::resource::gateway::Server;
use config::{Finding, Resource};
use rustls::ServerConfig;

use crate::tls::identity::WorkloadIdentity;
use gateway::Servers;

/// What is known of certificates while a generation is compiled.
#[derive(Debug, Default)]
pub struct Certificates {
    servers: Servers,
    /// Who this workload is, if it can prove it.
    identity: Option<Arc<WorkloadIdentity>>,
}

// === impl Certificates ===

impl Certificates {
    /// Reads the files that `resources` name; what is found wrong belongs to the fields that name them.
    pub fn load<'r>(
        resources: impl IntoIterator<Item = &'r Arc<Resource>>,
        identity: Option<Arc<WorkloadIdentity>>,
    ) -> (Self, Vec<(Arc<Resource>, Finding)>) {
        let (servers, findings) = Servers::load(resources);
        (Self { servers, identity }, findings)
    }

    /// How `server` terminates TLS; none if it does not, or not yet.
    pub(crate) fn server(&self, server: &Server) -> Option<&Arc<ServerConfig>> {
        self.servers.config(server)
    }

    /// Who this workload is, if it can prove it.
    pub(crate) fn identity(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.identity.as_ref()
    }
}
