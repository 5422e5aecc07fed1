//! A host of the registry: the service, and what governs it.

use std::sync::Arc;

use config::Resource;
use config::mesh::{
    Accepts, Address, Endpoint as Written, HostPolicy, Location, Mesh, MutualTlsPolicy, Service,
    Viewer,
};

use super::Place;
use crate::upstream::destination::DestinationKey;

/// Label by which an endpoint says how it is spoken to; Istio sets it on what has a proxy.
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// In mutual TLS, as the mesh does.
const TLS_MODE_MESH: &str = "istio";

/// A host that routes lead to: its service and what governs it. The same object from generation to
/// generation while no resource behind it changes.
#[derive(Debug)]
pub(in crate::table::compile) struct Host {
    pub(in crate::table::compile) name: Arc<str>,
    /// `namespace/host` of the service, whose host may be a wildcard that covers the name.
    pub(super) owner: Arc<str>,
    pub(in crate::table::compile) service: Arc<Service>,
    pub(in crate::table::compile) policy: Arc<HostPolicy>,
    /// What each endpoint of the service takes; none of those that are not in the mesh, and nothing at
    /// all where we have no identity to show.
    pub(super) accepts: Vec<Option<MutualTlsPolicy>>,
}

impl Host {
    /// Whether it was made of the same resources.
    pub(super) fn is_made_of(
        &self,
        service: &Arc<Service>,
        policy: &HostPolicy,
        accepts: &[Option<MutualTlsPolicy>],
    ) -> bool {
        let same_sources = same(&self.service.sources, &service.sources)
            && same(&self.policy.sources, &policy.sources);
        same_sources && self.accepts == accepts
    }

    /// Whether an endpoint of the service takes mutual TLS at a port of its own, as far as the mesh
    /// says so.
    pub(super) fn takes_mutual_tls(&self, endpoint: &Written, port: u16) -> bool {
        let at = self
            .service
            .endpoints
            .iter()
            .position(|it| std::ptr::eq(it, endpoint));
        let policy = at.and_then(|at| self.accepts.get(at)?.as_ref());
        policy.is_some_and(|policy| match policy.at(port) {
            Accepts::Plain => false,
            Accepts::Both | Accepts::MutualTls => true,
        })
    }

    /// Its destination at a port of it, or of a subset.
    pub(in crate::table::compile) fn place(&self, subset: Option<&str>, port: u16) -> Place {
        let key = DestinationKey {
            host: Arc::clone(&self.name),
            port,
            subset: subset.unwrap_or_default().into(),
            inbound: false,
        };
        let owner = Arc::clone(&self.owner);
        Place { key, owner }
    }

    /// Endpoints that take new requests, of a subset or all.
    pub(super) fn endpoints(&self, subset: Option<&str>) -> impl Iterator<Item = &Written> {
        let labels = subset
            .and_then(|name| self.policy.subset(name))
            .map(|subset| &subset.labels);
        let selected = move |endpoint: &&Written| {
            labels.is_none_or(|labels| {
                labels
                    .iter()
                    .all(|(name, value)| endpoint.labels.get(name) == Some(value))
            })
        };
        self.service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ready)
            .filter(selected)
    }

    pub(super) fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.service
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.address {
                Address::Name(name) => Some(name.as_str()),
                Address::Ip(_) | Address::Unix(_) => None,
            })
    }
}

/// What the endpoints of a service take by the policies of their workloads: those that say of themselves
/// that they are in the mesh. What is outside of it has no proxy that would end mutual TLS.
pub(super) fn accepts(mesh: &Mesh, service: &Service) -> Vec<Option<MutualTlsPolicy>> {
    let in_mesh = |endpoint: &Written| {
        let mode = endpoint.labels.get(TLS_MODE).map(String::as_str);
        mode == Some(TLS_MODE_MESH) && !matches!(endpoint.address, Address::Unix(_))
    };
    if service.location == Location::Outside || !service.endpoints.iter().any(in_mesh) {
        return Vec::new();
    }
    let endpoints = service.endpoints.iter();
    let accepts = |endpoint| {
        in_mesh(endpoint).then(|| {
            mesh.mutual_tls(&Viewer {
                namespace: service.namespace.clone(),
                labels: endpoint.labels.as_ref().clone(),
            })
        })
    };
    endpoints.map(accepts).collect()
}

/// Whether two lists hold the same objects.
pub(in crate::table::compile) fn same(a: &[Arc<Resource>], b: &[Arc<Resource>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
