//! Who sends: the own workload, or a peer whose address is that of an endpoint of the mesh.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use config::mesh::{Address, Endpoint, Mesh, Service};
use rustc_hash::FxHashMap;

use crate::telemetry::labels::UNKNOWN;

const APP: &str = "app";
const VERSION: &str = "version";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";

/// Who sends. What is not known is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The workload without its version: its label `service.istio.io/canonical-name`, else `app`,
    /// else its own name.
    pub workload: Box<str>,
    /// Its own name.
    pub own_name: Option<Box<str>>,
    /// Its label `version`.
    pub version: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its SPIFFE identity.
    pub principal: Box<str>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Peers by their addresses.
#[derive(Debug)]
pub struct Sources {
    /// None where endpoints of different workloads share an address.
    by_ip: FxHashMap<IpAddr, Option<Arc<Source>>>,
    unknown: Source,
}

// === impl Source ===

impl Source {
    /// A workload with these labels.
    pub fn new(
        name: Option<&str>,
        namespace: &str,
        labels: Arc<BTreeMap<String, String>>,
        principal: &str,
    ) -> Self {
        let label = |key| labels.get(key).map(String::as_str);
        let name = name.filter(|name| !name.is_empty());
        let workload = label(CANONICAL_NAME).or_else(|| label(APP)).or(name);
        let version = label(VERSION);
        Self {
            workload: workload.unwrap_or(UNKNOWN).into(),
            own_name: name.map(Into::into),
            version: version.unwrap_or(UNKNOWN).into(),
            namespace: namespace.into(),
            principal: principal.into(),
            labels,
        }
    }

    fn of(service: &Service, endpoint: &Endpoint) -> Self {
        Self::new(
            endpoint.workload.as_deref(),
            &service.namespace,
            Arc::clone(&endpoint.labels),
            UNKNOWN,
        )
    }

    /// Whether it has all labels and is of the namespace, where one is named.
    pub fn meets(&self, labels: &[(Box<str>, Box<str>)], namespace: Option<&str>) -> bool {
        let has = |(name, value): &(Box<str>, Box<str>)| {
            let found = self.labels.get(&**name).map(String::as_str);
            found == Some(&**value)
        };
        labels.iter().all(has) && namespace.is_none_or(|namespace| *namespace == *self.namespace)
    }
}

// === impl Sources ===

impl Sources {
    /// Nobody is known.
    pub fn nobody() -> Self {
        Self {
            by_ip: FxHashMap::default(),
            unknown: Source::new(None, UNKNOWN, Arc::default(), UNKNOWN),
        }
    }

    /// Everybody whose address is that of an endpoint, ready or not. A workload may serve several
    /// services; an address of several workloads is nobody's.
    pub fn of(mesh: &Mesh) -> Self {
        let mut sources = Self::nobody();
        for service in mesh.services() {
            for endpoint in &service.endpoints {
                if let Address::Ip(ip) = &endpoint.address {
                    sources.add(ip.to_canonical(), Source::of(service, endpoint));
                }
            }
        }
        sources
    }

    fn add(&mut self, ip: IpAddr, source: Source) {
        match self.by_ip.entry(ip) {
            Entry::Vacant(place) => {
                place.insert(Some(Arc::new(source)));
            }
            Entry::Occupied(mut place) => {
                if place.get().as_deref() != Some(&source) {
                    place.insert(None);
                }
            }
        }
    }

    /// Who sends from an address.
    pub fn find(&self, ip: Option<IpAddr>) -> &Source {
        let found = ip.and_then(|ip| self.by_ip.get(&ip.to_canonical()));
        found.and_then(Option::as_deref).unwrap_or(&self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use config::load::parse;
    use config::mesh::MeshSettings;

    use super::*;

    fn sources() -> Sources {
        let yaml = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: reviews, version: v3}}
  - {address: 10.0.0.2, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: more}
spec:
  hosts: [more.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: reviews, version: v3}}
  - {address: 10.0.0.2, labels: {app: more}}
";
        let loaded = parse("test.yaml", yaml, "default");
        assert_eq!(loaded.problems, []);
        Sources::of(&Mesh::new(&loaded.resources, MeshSettings::default()))
    }

    #[test]
    fn a_peer_is_known_by_its_address_unless_others_share_it() {
        let sources = sources();
        let told = |ip: &str| {
            let source = sources.find(ip.parse().ok());
            [&*source.workload, &*source.version, &*source.namespace].map(str::to_owned)
        };

        assert_eq!(told("10.0.0.1"), ["reviews", "v3", "default"]);
        assert_eq!(told("::ffff:10.0.0.1"), ["reviews", "v3", "default"]);
        assert_eq!(told("10.0.0.2"), [UNKNOWN; 3]);
        assert_eq!(told("10.0.0.3"), [UNKNOWN; 3]);
    }

    #[test]
    fn a_workload_is_called_by_what_its_versions_share() {
        let named = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            let source = Source::new(Some("reviews-v3"), "a", Arc::new(labels.collect()), "p");
            source.workload
        };

        assert_eq!(&*named(&[]), "reviews-v3");
        assert_eq!(&*named(&[("app", "reviews")]), "reviews");
        assert_eq!(
            &*named(&[("app", "x"), (CANONICAL_NAME, "reviews")]),
            "reviews"
        );
    }
}
