//! The scope of a viewer: what its `Sidecar` lets it see of services and routes.

use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashSet;

use super::visibility::{Relation, imports};
use super::{MESH_GATEWAY, Mesh, Routes, Service, Viewer, name};
use crate::resource::sidecar::{EgressListener, Sidecar};
use crate::resource::{Resource, Spec};

/// What tells two scopes apart: in a `Sidecar` of the root namespace `.` is the viewer's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ScopeKey {
    /// Address of the `Sidecar`, which the mesh keeps alive.
    sidecar: usize,
    namespace: String,
}

impl Mesh {
    /// The service that traffic for a completed host goes to.
    ///
    /// With a `Sidecar` these are the services that its egress hosts import, and those that the
    /// routes in its scope lead to. A host that no service has by name is served by the longest
    /// wildcard that covers it.
    pub fn service(&self, viewer: &Viewer, host: &str) -> Option<&Arc<Service>> {
        let Some((resource, egress)) = self.egress(viewer) else {
            return self.gateway_service(viewer, host);
        };
        self.imported(viewer, egress, host).or_else(|| {
            let service = self.gateway_service(viewer, host)?;
            // Routes name hosts completely.
            let completed = self.resolve(host, &service.namespace);
            let inferred = self.inferred(resource, egress, viewer);
            inferred.contains(&completed).then_some(service)
        })
    }

    /// The service that traffic for a completed host goes to if a route in scope leads there.
    pub fn destination_service(&self, viewer: &Viewer, host: &str) -> Option<&Arc<Service>> {
        let imported = self
            .egress(viewer)
            .and_then(|(_, egress)| self.imported(viewer, egress, host));
        imported.or_else(|| self.gateway_service(viewer, host))
    }

    /// The service under a host that egress listeners import.
    fn imported(
        &self,
        viewer: &Viewer,
        egress: &[EgressListener],
        host: &str,
    ) -> Option<&Arc<Service>> {
        let at_its_port = self.registry.find(host, |services| {
            preferred(services, viewer, |service| {
                egress
                    .iter()
                    .any(|listener| imports_service(listener, viewer, service))
            })
        });
        // A listener with a port of its own is a proxy for any port of what it imports.
        at_its_port.or_else(|| {
            self.registry.find(host, |services| {
                preferred(services, viewer, |service| {
                    let owned = (service.namespace.as_str(), service.host.as_str());
                    let own = &viewer.namespace;
                    egress
                        .iter()
                        .any(|listener| imports(&listener.hosts, own, owned, Relation::Covered))
                })
            })
        })
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

    /// Every `Sidecar` that has a word for the viewer: its own, and those that it may inherit from.
    pub fn sidecars(&self, viewer: &Viewer) -> impl Iterator<Item = &Arc<Resource>> {
        let chain = [
            self.sidecar(viewer),
            self.default_sidecar(&viewer.namespace),
            self.default_sidecar(&self.settings.root_namespace),
        ];
        chain.into_iter().flatten()
    }

    /// The egress listeners that say what the viewer may reach; none if it may reach everything that
    /// is exported to it.
    pub fn egress_listeners(&self, viewer: &Viewer) -> Option<&[EgressListener]> {
        self.egress(viewer).map(|(_, listeners)| listeners)
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
                Spec::Sidecar(Sidecar { egress, .. }) if !egress.is_empty() => {
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
pub(super) fn preferred<'a>(
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

pub(super) fn imports_service(
    listener: &EgressListener,
    viewer: &Viewer,
    service: &Service,
) -> bool {
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
