//! The set of resources and Istio's lookup rules, as pure functions.
//!
//! A [`Mesh`] is one generation: it never changes. Who looks is always an argument, a [`Viewer`],
//! so that the same mesh serves one proxy from files and every proxy of a control plane.
//!
//! What depends on a request or on the port it came to is deliberately absent: `sourceLabels`,
//! `sourceNamespace`, `gateways` and `port` of a match block stay in the routes as conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::resource::gateway::Server;
use crate::resource::sidecar::EgressListener;
use crate::resource::{Resource, Spec, sidecar};

mod delegate;
#[cfg(test)]
pub(crate) mod fixture;
mod kubernetes;
mod name;
mod order;
mod policy;
mod registry;
mod routes;
mod service;
mod service_entry;
mod visibility;

pub use name::{MESH_GATEWAY, covers, intersect, resolve_gateway};
pub use policy::{EffectivePolicy, HostPolicy, Subset};
pub use routes::Routes;
pub use service::{Address, Endpoint, Location, Port, PortMap, Protocol, Resolution, Service};

use policy::RuleIndex;
use registry::Registry;
use routes::RouteIndex;
use visibility::{Relation, exported, imports};

/// Settings that concern the mesh as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// DNS domain of Kubernetes services.
    pub domain: String,
    /// Namespace whose rules apply to all others.
    pub root_namespace: String,
}

/// Who looks: drives `exportTo`, `Sidecar`, `workloadSelector` and `selector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewer {
    /// Namespace of the proxy.
    pub namespace: String,
    /// Labels of its workload.
    pub labels: BTreeMap<String, String>,
}

/// One generation of resources, with indexes.
#[derive(Debug)]
pub struct Mesh {
    settings: MeshSettings,
    kinds: Kinds,
    registry: Registry,
    routes: RouteIndex,
    rules: RuleIndex,
    sidecars: FxHashMap<String, Vec<Arc<Resource>>>,
    /// Hosts that the routes in scope of a `Sidecar` lead to. Remembered because finding them means
    /// walking over all routes.
    inferred: Mutex<FxHashMap<ScopeKey, Arc<FxHashSet<String>>>>,
}

/// What tells two scopes apart: in a `Sidecar` of the root namespace `.` is the viewer's.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ScopeKey {
    /// Address of the `Sidecar`, which the mesh keeps alive.
    sidecar: usize,
    namespace: String,
}

/// Resources by kind, each kind ordered by precedence.
#[derive(Debug, Default)]
struct Kinds {
    virtual_services: Vec<Arc<Resource>>,
    destination_rules: Vec<Arc<Resource>>,
    gateways: Vec<Arc<Resource>>,
    service_entries: Vec<Arc<Resource>>,
    workload_entries: Vec<Arc<Resource>>,
    sidecars: Vec<Arc<Resource>>,
    services: Vec<Arc<Resource>>,
    endpoint_slices: Vec<Arc<Resource>>,
}

// === impl MeshSettings ===

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
        }
    }
}

// === impl Mesh ===

impl Mesh {
    /// Indexes resources.
    pub fn new(resources: &[Arc<Resource>], settings: MeshSettings) -> Self {
        Self::build(resources, settings, None)
    }

    /// The next generation, which shares with this one the routes whose resources are the same
    /// objects: a change of one `VirtualService` among many costs the one.
    pub fn next(&self, resources: &[Arc<Resource>]) -> Self {
        Self::build(resources, self.settings.clone(), Some(self))
    }

    fn build(resources: &[Arc<Resource>], settings: MeshSettings, previous: Option<&Self>) -> Self {
        let kinds = Kinds::new(resources);
        let mut sidecars: FxHashMap<String, Vec<Arc<Resource>>> = FxHashMap::default();
        for sidecar in &kinds.sidecars {
            sidecars
                .entry(sidecar.meta.namespace.clone())
                .or_default()
                .push(Arc::clone(sidecar));
        }
        Self {
            registry: Registry::new(&kinds, &settings.domain),
            routes: RouteIndex::new(&kinds.virtual_services, previous.map(|mesh| &mesh.routes)),
            rules: RuleIndex::new(&kinds.destination_rules, &settings.domain),
            sidecars,
            inferred: Mutex::default(),
            kinds,
            settings,
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// Completes a name without a dot with a namespace; any other is complete.
    pub fn resolve(&self, name: &str, namespace: &str) -> String {
        name::resolve(name, namespace, &self.settings.domain)
    }

    /// All services, whoever sees them.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.registry.all().iter()
    }

    /// The service that traffic for a completed host goes to.
    ///
    /// With a `Sidecar` these are the services that its egress hosts import, and those that the
    /// routes in its scope lead to. A host that no service has by name is served by the longest
    /// wildcard that covers it.
    pub fn service(&self, viewer: &Viewer, host: &str) -> Option<&Arc<Service>> {
        let Some((resource, egress)) = self.egress(viewer) else {
            return self.gateway_service(viewer, host);
        };
        let imported = self.registry.find(host, |services| {
            preferred(services, viewer, |service| {
                egress
                    .iter()
                    .any(|listener| imports_service(listener, viewer, service))
            })
        });
        imported.or_else(|| {
            let inferred = self.inferred(resource, egress, viewer);
            if inferred.contains(host) {
                self.gateway_service(viewer, host)
            } else {
                None
            }
        })
    }

    /// The same for traffic through a gateway, which no `Sidecar` restricts: `exportTo` alone.
    pub fn gateway_service(&self, viewer: &Viewer, host: &str) -> Option<&Arc<Service>> {
        let visible = |service: &&Arc<Service>| service.visible_to(viewer);
        self.registry
            .find(host, |services| services.iter().find(visible))
    }

    /// One service for each host that the viewer sees; with a `Sidecar` those that its egress
    /// listener without port imports.
    pub fn visible_services(&self, viewer: &Viewer) -> Vec<&Arc<Service>> {
        let Some((_, egress)) = self.egress(viewer) else {
            return self.one_per_host(viewer, |_| true);
        };
        match egress.iter().find(|listener| listener.port.is_none()) {
            Some(listener) => self.egress_services(viewer, listener),
            None => Vec::new(),
        }
    }

    /// One service for each host that an egress listener imports; with a port only those that have
    /// it.
    pub fn egress_services(
        &self,
        viewer: &Viewer,
        listener: &EgressListener,
    ) -> Vec<&Arc<Service>> {
        self.one_per_host(viewer, |service| imports_service(listener, viewer, service))
    }

    /// The `Sidecar` of the viewer: one that selects its workload, else that of its namespace,
    /// else that of the root namespace.
    pub fn sidecar(&self, viewer: &Viewer) -> Option<&Arc<Resource>> {
        let own = self
            .sidecars
            .get(&viewer.namespace)
            .map_or(&[][..], Vec::as_slice);
        let selecting = own.iter().find(|resource| match &resource.spec {
            Spec::Sidecar(sidecar) => sidecar
                .workload_selector
                .as_ref()
                .is_some_and(|selector| name::selects(&selector.labels, &viewer.labels)),
            _ => false,
        });
        selecting.or_else(|| self.default_sidecar(&viewer.namespace))
    }

    /// Gateways that the viewer opens: those whose selector matches its labels.
    ///
    /// A viewer without any labels opens all of them: it is a proxy on its own, which was given
    /// these files to serve them.
    pub fn gateways(&self, viewer: &Viewer) -> Vec<&Arc<Resource>> {
        let selected = |resource: &&Arc<Resource>| match &resource.spec {
            Spec::Gateway(gateway) => {
                viewer.labels.is_empty() || name::selects(&gateway.selector, &viewer.labels)
            }
            _ => false,
        };
        self.kinds.gateways.iter().filter(selected).collect()
    }

    /// Routes for sidecars that the viewer sees, the one that takes precedence first. Of two for
    /// one host the first wins entirely.
    pub fn mesh_routes(&self, viewer: &Viewer) -> Vec<Arc<Routes>> {
        match self.egress(viewer) {
            None => self.bound(MESH_GATEWAY, viewer).cloned().collect(),
            Some((_, egress)) => match egress.iter().find(|listener| listener.port.is_none()) {
                Some(listener) => self.egress_routes(viewer, listener),
                None => Vec::new(),
            },
        }
    }

    /// Routes for sidecars that an egress listener imports, the one that takes precedence first.
    pub fn egress_routes(&self, viewer: &Viewer, listener: &EgressListener) -> Vec<Arc<Routes>> {
        let imported = |routes: &&Arc<Routes>| {
            routes.hosts.iter().any(|host| {
                let route = (routes.namespace.as_str(), host.as_str());
                imports(
                    &listener.hosts,
                    &viewer.namespace,
                    route,
                    Relation::Overlapping,
                )
            })
        };
        self.bound(MESH_GATEWAY, viewer)
            .filter(imported)
            .cloned()
            .collect()
    }

    /// Routes bound to a gateway and visible from the viewer's namespace, their hosts narrowed to
    /// the server's; the one that takes precedence first.
    pub fn gateway_routes(
        &self,
        viewer: &Viewer,
        gateway: &Resource,
        server: &Server,
    ) -> Vec<Arc<Routes>> {
        let meta = &gateway.meta;
        self.bound(&format!("{}/{}", meta.namespace, meta.name), viewer)
            .filter_map(|routes| routes.within(server, &meta.namespace))
            .collect()
    }

    /// What governs traffic of the viewer to a host: the rules of the viewer's namespace, else of
    /// the service's, else of the root namespace, and of these the most specific host.
    ///
    /// Without `service_namespace` it is that of the service the viewer sees under the host.
    pub fn policy(
        &self,
        viewer: &Viewer,
        service_host: &str,
        service_namespace: Option<&str>,
    ) -> Arc<HostPolicy> {
        let namespace = service_namespace.or_else(|| {
            Some(
                self.gateway_service(viewer, service_host)?
                    .namespace
                    .as_str(),
            )
        });
        Arc::new(
            self.rules
                .policy(viewer, service_host, namespace, &self.settings),
        )
    }

    fn bound(&self, gateway: &str, viewer: &Viewer) -> impl Iterator<Item = &Arc<Routes>> {
        self.routes
            .bound(gateway, &viewer.namespace, &self.settings.domain)
    }

    /// The selector-less `Sidecar` of a namespace, else that of the root namespace.
    fn default_sidecar(&self, namespace: &str) -> Option<&Arc<Resource>> {
        [namespace, self.settings.root_namespace.as_str()]
            .into_iter()
            .find_map(|namespace| {
                self.sidecars
                    .get(namespace)?
                    .iter()
                    .find(|resource| match &resource.spec {
                        Spec::Sidecar(sidecar) => sidecar.workload_selector.is_none(),
                        _ => false,
                    })
            })
    }

    /// The egress listeners that restrict the viewer and the `Sidecar` they come from: one without
    /// any inherits those of its namespace, then those of the root namespace.
    fn egress(&self, viewer: &Viewer) -> Option<(&Arc<Resource>, &[EgressListener])> {
        let root = self.settings.root_namespace.as_str();
        let chain = [
            self.sidecar(viewer),
            self.default_sidecar(&viewer.namespace),
            self.default_sidecar(root),
        ];
        chain
            .into_iter()
            .flatten()
            .find_map(|resource| match &resource.spec {
                Spec::Sidecar(sidecar::Sidecar { egress, .. }) if !egress.is_empty() => {
                    Some((resource, egress.as_slice()))
                }
                _ => None,
            })
    }

    /// Hosts that the routes in scope lead to.
    fn inferred(
        &self,
        sidecar: &Arc<Resource>,
        egress: &[EgressListener],
        viewer: &Viewer,
    ) -> Arc<FxHashSet<String>> {
        let key = ScopeKey {
            sidecar: Arc::as_ptr(sidecar).addr(),
            namespace: viewer.namespace.clone(),
        };
        let mut remembered = self.inferred.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = remembered.entry(key).or_insert_with(|| {
            let routes = egress
                .iter()
                .flat_map(|listener| self.egress_routes(viewer, listener));
            let mut hosts = FxHashSet::default();
            for routes in routes {
                hosts.extend(routes.destination_hosts().map(str::to_owned));
            }
            Arc::new(hosts)
        });
        Arc::clone(hosts)
    }

    fn one_per_host(
        &self,
        viewer: &Viewer,
        admits: impl Fn(&Service) -> bool,
    ) -> Vec<&Arc<Service>> {
        let mut seen = FxHashSet::default();
        let restricted = self.egress(viewer).is_some();
        let hosts = self
            .registry
            .all()
            .iter()
            .map(|service| service.host.as_str());
        hosts
            .filter(|host| seen.insert(*host))
            .filter_map(|host| {
                let services = self.registry.of(host);
                if restricted {
                    return preferred(services, viewer, &admits);
                }
                services
                    .iter()
                    .find(|service| service.visible_to(viewer) && admits(service))
            })
            .collect()
    }
}

/// Of the services for one host that are in scope the one in the viewer's namespace, else the
/// first.
fn preferred<'a>(
    services: &'a [Arc<Service>],
    viewer: &Viewer,
    admits: impl Fn(&Service) -> bool,
) -> Option<&'a Arc<Service>> {
    let in_scope = |service: &&Arc<Service>| service.visible_to(viewer) && admits(service);
    let own = |service: &&Arc<Service>| service.namespace == viewer.namespace;
    let mut services_in_scope = services.iter().filter(in_scope);
    services
        .iter()
        .filter(in_scope)
        .find(own)
        .or_else(|| services_in_scope.next())
}

fn imports_service(listener: &EgressListener, viewer: &Viewer, service: &Service) -> bool {
    let owned = (service.namespace.as_str(), service.host.as_str());
    let has_port = listener.port.as_ref().is_none_or(|port| {
        port.number == 0
            || port.protocol.eq_ignore_ascii_case("HTTP_PROXY")
            || service
                .ports
                .iter()
                .any(|own| u32::from(own.number) == port.number)
    });
    has_port && imports(&listener.hosts, &viewer.namespace, owned, Relation::Covered)
}

impl Service {
    /// Whether `exportTo` shows the service to a viewer.
    pub fn visible_to(&self, viewer: &Viewer) -> bool {
        exported(&self.export_to, &self.namespace, &viewer.namespace)
    }
}

// === impl Kinds ===

impl Kinds {
    fn new(resources: &[Arc<Resource>]) -> Self {
        let mut kinds = Self::default();
        for resource in resources {
            let kind = match &resource.spec {
                Spec::VirtualService(_) => &mut kinds.virtual_services,
                Spec::DestinationRule(_) => &mut kinds.destination_rules,
                Spec::Gateway(_) => &mut kinds.gateways,
                Spec::ServiceEntry(_) => &mut kinds.service_entries,
                Spec::WorkloadEntry(_) => &mut kinds.workload_entries,
                Spec::Sidecar(_) => &mut kinds.sidecars,
                Spec::Service(_) => &mut kinds.services,
                Spec::EndpointSlice(_) => &mut kinds.endpoint_slices,
            };
            kind.push(Arc::clone(resource));
        }
        for kind in [
            &mut kinds.virtual_services,
            &mut kinds.destination_rules,
            &mut kinds.gateways,
            &mut kinds.service_entries,
            &mut kinds.workload_entries,
            &mut kinds.sidecars,
            &mut kinds.services,
            &mut kinds.endpoint_slices,
        ] {
            order::by_precedence(kind);
        }
        kinds
    }
}

#[cfg(test)]
mod tests;
