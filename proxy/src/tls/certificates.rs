//! Everything that is read from files before a generation is compiled: certificates, keys and
//! authorities.
//!
//! They are read when a configuration is loaded, so that a file that is missing or does not fit is
//! an error at the field that names it, like any other, and changes nothing.

mod files;
mod gateway;

use std::sync::Arc;

use config::resource::gateway::Server;
use config::{Finding, Resource};
use rustls::ServerConfig;

use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::identity::WorkloadIdentity;
use crate::tls::pem;
use gateway::Servers;

pub(crate) use files::named as named_files;

/// What is known of certificates while a generation is compiled.
#[derive(Debug, Default)]
pub struct Certificates {
    servers: Arc<Servers>,
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
        let loaded = Self {
            servers: Arc::new(servers),
            identity,
        };
        (loaded, findings)
    }

    /// The same, of a workload with another identity.
    pub fn with_identity(&self, identity: Arc<WorkloadIdentity>) -> Self {
        Self {
            servers: Arc::clone(&self.servers),
            identity: Some(identity),
        }
    }

    /// How `server` terminates TLS; none if it does not, or not yet.
    pub(crate) fn server(&self, server: &Server) -> Option<&Arc<ServerConfig>> {
        self.servers.config(server)
    }

    /// What the certificates in use say of themselves: those of the identity, and those that the
    /// gateways among `resources` serve.
    pub fn facts<'r>(
        &self,
        resources: impl IntoIterator<Item = &'r Arc<Resource>>,
    ) -> Vec<CertificateFacts> {
        let mut facts = Vec::new();
        if let Some(identity) = &self.identity {
            facts.extend(identity.facts.iter().cloned());
        }
        for file in files::served(resources) {
            // One that cannot be read is not in use, and was reported.
            let Ok(chain) = pem::chain(&file) else {
                continue;
            };
            let read = |it| CertificateFacts::read(it, Purpose::Gateway, &file).ok();
            facts.extend(chain.iter().filter_map(read));
        }
        facts
    }

    /// Who this workload is, if it can prove it.
    pub(crate) fn identity(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.identity.as_ref()
    }
}
