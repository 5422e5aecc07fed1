//! Everything that is read from files before a generation is compiled: certificates, keys and
//! authorities.
//!
//! They are read when a configuration is loaded, so that a file that is missing or does not fit is
//! an error at the field that names it, like any other, and changes nothing.

mod doubts;
mod files;
mod gateway;
mod upstream;

use std::sync::Arc;

use config::mesh::{Mesh, Viewer};
use config::resource::gateway::Server;
use config::{Finding, Resource};

use crate::tls::facts::CertificateFacts;
use crate::tls::gateway::Acceptance;
use crate::tls::identity::WorkloadIdentity;
use gateway::Servers;
pub(crate) use upstream::Clients;

pub(crate) use files::named as named_files;

/// What is known of certificates while a generation is compiled.
#[derive(Debug, Default)]
pub struct Certificates {
    servers: Arc<Servers>,
    clients: Arc<Clients>,
    /// Who this workload is, if it can prove it.
    identity: Option<Arc<WorkloadIdentity>>,
}

// === impl Certificates ===

impl Certificates {
    /// Reads the files and secrets that the resources of `viewer` name, and those that `rules` of
    /// destinations do; what is found wrong belongs to the fields that name them. What is as `before`
    /// stays the same object.
    pub fn load<'r>(
        mesh: &Mesh,
        viewer: &Viewer,
        rules: impl IntoIterator<Item = &'r Arc<Resource>>,
        identity: Option<Arc<WorkloadIdentity>>,
        before: Option<&Self>,
    ) -> (Self, Vec<(Arc<Resource>, Finding)>) {
        let of_servers = before.map(|before| &*before.servers);
        let (servers, mut findings) = Servers::load(mesh, viewer, identity.as_ref(), of_servers);
        let nothing = Clients::default();
        let of_clients = before.map_or(&nothing, |before| &*before.clients);
        let (clients, more) = Clients::load(rules, of_clients);
        findings.extend(more);
        let loaded = Self {
            servers: Arc::new(servers),
            clients: Arc::new(clients),
            identity,
        };
        (loaded, findings)
    }

    /// Whether all of them are the same objects.
    pub fn is_same(&self, other: &Self) -> bool {
        let identities = (&self.identity, &other.identity);
        let same_identity = match identities {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_identity
            && self.servers.is_same(&other.servers)
            && self.clients.is_same(&other.clients)
    }

    /// The same, of a workload with another identity.
    pub fn with_identity(&self, identity: Arc<WorkloadIdentity>) -> Self {
        Self {
            servers: Arc::new(self.servers.with_identity(&identity)),
            clients: Arc::clone(&self.clients),
            identity: Some(identity),
        }
    }

    /// Certificates of our own and authorities for TLS towards upstreams.
    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// How TLS ends at `server`; none if it does not, or if something for it is missing.
    pub(crate) fn acceptance(&self, server: &Server) -> Option<&Arc<Acceptance>> {
        self.servers.acceptance(server)
    }

    /// What the certificates in use say of themselves, each once: those of the identity, of gateways,
    /// and of rules for destinations.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        let identity = self.identity.iter().flat_map(|it| &it.facts);
        let servers = identity.chain(self.servers.facts()).cloned();
        let mut facts: Vec<CertificateFacts> = Vec::new();
        for one in servers.chain(self.clients.facts()) {
            if !facts.contains(&one) {
                facts.push(one);
            }
        }
        facts
    }

    /// Who this workload is, if it can prove it.
    pub(crate) fn identity(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.identity.as_ref()
    }
}
