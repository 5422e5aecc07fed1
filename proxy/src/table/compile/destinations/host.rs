//! A host of the registry: the service, and what governs it.

use std::sync::Arc;

use config::Resource;
use config::mesh::{Address, Endpoint as Written, HostPolicy, Service};

use super::Place;
use crate::upstream::destination::DestinationKey;

/// A host that routes lead to: its service and what governs it. The same object from generation to
/// generation while no resource behind it changes.
#[derive(Debug)]
pub(in crate::table::compile) struct Host {
    pub(in crate::table::compile) name: Arc<str>,
    /// `namespace/host` of the service, whose host may be a wildcard that covers the name.
    pub(super) owner: Arc<str>,
    pub(in crate::table::compile) service: Arc<Service>,
    pub(in crate::table::compile) policy: Arc<HostPolicy>,
}

impl Host {
    /// Whether it was made of the same resources.
    pub(super) fn is_made_of(&self, service: &Arc<Service>, policy: &HostPolicy) -> bool {
        same(&self.service.sources, &service.sources) && same(&self.policy.sources, &policy.sources)
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

/// Whether two lists hold the same objects.
pub(in crate::table::compile) fn same(a: &[Arc<Resource>], b: &[Arc<Resource>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
