//! What one proxy needs of a mesh: a function of the generation, of who the proxy is, and of what it
//! asked for.
//!
//! A host that a proxy knows by its exact name is complete: whatever its table would make of it if it
//! had the whole mesh, it makes of its part. So whoever is added brings along what governs it, where its
//! routes lead, and every other host that the same resources name. Hosts of wildcards are not: a proxy
//! asks for each name that a wildcard alone covers.
//!
//! More than what is needed does no harm but costs; less is a wrong route. Where the two are hard to
//! tell apart this errs on the side of more, within what `exportTo` and `Sidecar` let the proxy see.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::Resource;
use config::mesh::Viewer;
use config::wire::{Demand, Name};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::index::{Generation, PodKey, ServiceKey, Touched};

mod gather;
mod own;
mod place;
mod secrets;

#[cfg(test)]
mod tests;

use gather::Gatherer;

/// Who a proxy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Namespace and labels as it says; the namespace is proven where there is an account.
    pub viewer: Viewer,
    /// Name of its workload as it says: in Kubernetes the pod's.
    pub name: Arc<str>,
    /// Its service account, if it proved it. Without one there are no secrets for it.
    pub account: Option<Arc<str>>,
}

/// What a proxy needs.
#[derive(Debug, Default)]
pub struct Scope {
    /// Resources, slices of endpoints aside.
    pub resources: FxHashSet<Name>,
    /// Services whose slices it needs.
    pub services: FxHashSet<ServiceKey>,
    /// Where the workload is, `region/zone/subzone`, if that is known.
    pub locality: Option<Arc<str>>,
    /// Whether there is what was demanded.
    pub found: FxHashMap<Demand, bool>,
    /// What it depends on besides the structure of the mesh: if one of these changes, the scope may be
    /// another.
    pub depends_on: FxHashSet<Touched>,
}

/// What a proxy needs of a generation.
pub fn scope<'d>(
    generation: &Generation,
    proxy: &Proxy,
    demands: impl IntoIterator<Item = &'d Demand>,
) -> Scope {
    let mut gatherer = Gatherer::new(generation, proxy);
    gatherer.place();
    gatherer.settings();
    gatherer.own_workload();
    gatherer.security();
    gatherer.egress();
    gatherer.gateways();
    for demand in demands {
        let found = match demand {
            Demand::Host(host) => gatherer.demand_host(host),
            Demand::Address(address) => gatherer.demand_address(*address),
        };
        gatherer.scope.found.insert(demand.clone(), found);
    }
    gatherer.finish()
}

// === impl Scope ===

impl Scope {
    /// Names of the slices of all services.
    pub fn slices<'s>(&'s self, generation: &'s Generation) -> impl Iterator<Item = &'s Name> {
        let services = self.services.iter();
        let slices = services.filter_map(|service| generation.slices.get(service));
        slices.flat_map(|names| names.iter())
    }
}

// === impl Gatherer ===

impl Gatherer<'_> {
    /// A host as a request names it.
    fn demand_host(&mut self, host: &str) -> bool {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.address(ip);
        }
        let mut found = false;
        for meant in self.mesh().meant_by(self.viewer(), host) {
            found |= self.named(meant);
        }
        found
    }

    /// An address that a connection was going to: who has it, and who is meant by the port alone, as those
    /// who have the address may not have the port.
    fn demand_address(&mut self, address: SocketAddr) -> bool {
        let has_address = self.address(address.ip());
        let (mesh, viewer) = (self.mesh(), self.viewer());
        let services = mesh.services_at_port(viewer, address.port());
        for service in &services {
            self.service(service);
            self.covered(&service.host);
        }
        has_address || !services.is_empty()
    }

    fn address(&mut self, ip: IpAddr) -> bool {
        let (generation, proxy) = (self.generation, self.proxy);
        let ip = ip.to_canonical();
        let meant = generation.mesh.services_at(&proxy.viewer, ip);
        for service in &meant {
            self.service(service);
        }
        // Somebody may have it later.
        self.scope.depends_on.insert(Touched::Address(ip));
        let mut found = !meant.is_empty();
        let serving = generation.served_at.get(&ip);
        for (namespace, name) in serving.into_iter().flat_map(|it| it.iter()) {
            let domain = &generation.mesh.settings().domain;
            found |= self.named(format!("{name}.{namespace}.svc.{domain}"));
        }
        found
    }
}

fn pod_key(proxy: &Proxy) -> PodKey {
    let namespace = Arc::from(proxy.viewer.namespace.as_str());
    (namespace, Arc::clone(&proxy.name))
}

fn service_key(resource: &Resource) -> ServiceKey {
    let meta = &resource.meta;
    (
        Arc::from(meta.namespace.as_str()),
        Arc::from(meta.name.as_str()),
    )
}
