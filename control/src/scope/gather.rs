//! Gathering: what is added brings along what it needs.

use std::sync::Arc;

use config::mesh::{Mesh, Routes, Service, Viewer, covers};
use config::resource::virtual_service::VirtualService;
use config::wire::Name;
use config::{Resource, Spec};
use rustc_hash::FxHashSet;

use super::{Proxy, Scope, service_key};
use crate::index::{Generation, Touched};

/// Most hosts of one scope. A gateway that routes to every service of a mesh of the size that this is
/// built for has some ten thousand.
const HOSTS_MAX: usize = 100_000;

/// How a host came to be needed, which decides what counts as its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// By its name, in the table of the sidecar.
    Named,
    /// By a route of the sidecar that leads there.
    Routed,
    /// By a route of a gateway, or by a policy: no `Sidecar` restricts these.
    Beyond,
}

/// A scope in the making.
pub(super) struct Gatherer<'g> {
    pub(super) generation: &'g Generation,
    pub(super) proxy: &'g Proxy,
    pub(super) scope: Scope,
    hosts: FxHashSet<(Way, String)>,
    /// Hosts whose rules were looked up, completed.
    ruled: FxHashSet<String>,
    waiting: Vec<(Way, String)>,
    /// Services and the specs of routes by address: the mesh keeps them alive.
    services: FxHashSet<*const Service>,
    routes: FxHashSet<(Way, *const VirtualService)>,
    /// Namespaces whose workloads are reached.
    reached: FxHashSet<String>,
}

// === impl Gatherer ===

impl<'g> Gatherer<'g> {
    pub(super) fn new(generation: &'g Generation, proxy: &'g Proxy) -> Self {
        Self {
            generation,
            proxy,
            scope: Scope::default(),
            hosts: FxHashSet::default(),
            ruled: FxHashSet::default(),
            waiting: Vec::new(),
            services: FxHashSet::default(),
            routes: FxHashSet::default(),
            reached: FxHashSet::default(),
        }
    }

    pub(super) fn mesh(&self) -> &'g Mesh {
        &self.generation.mesh
    }

    pub(super) fn viewer(&self) -> &'g Viewer {
        &self.proxy.viewer
    }

    /// The scope once everything is complete.
    pub(super) fn finish(mut self) -> Scope {
        self.complete();
        self.depend();
        self.scope
    }

    /// Notes what was looked at: if something changes there, the scope may be another.
    fn depend(&mut self) {
        let hosts = self.hosts.iter().map(|(_, host)| host);
        let hosts = hosts.chain(&self.ruled).map(|host| Touched::host(host));
        let own = &self.proxy.viewer.namespace;
        let namespaces = self.reached.iter().chain([own]);
        let namespaces = namespaces.map(|it| Touched::Namespace(it.as_str().into()));
        self.scope.depends_on.extend(hosts.chain(namespaces));
        if self.hosts.len() >= HOSTS_MAX {
            self.scope.depends_on.insert(Touched::AnyHost);
        }
    }

    /// Adds a resource and nothing else.
    pub(super) fn resource(&mut self, resource: &Resource) {
        let name = Name::of(resource);
        if let Some(shared) = self.generation.shared_name(&name)
            && !self.scope.resources.contains(shared)
        {
            self.scope.resources.insert(shared.clone());
        }
    }

    /// Adds what governs a completed host; returns whether anything does.
    pub(super) fn named(&mut self, host: String) -> bool {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        let is_new = self.hosts.insert((Way::Named, host.clone()));
        let routes = mesh.host_routes(viewer, &host);
        let services = mesh.host_services(viewer, &host);
        let found = !routes.is_empty() || !services.is_empty();
        // What is known is complete, or waits to be.
        if !is_new {
            return found;
        }
        for routes in &routes {
            self.routes(routes, Way::Routed);
        }
        for service in services {
            self.service(service);
        }
        self.complete();
        found
    }

    /// Has a host added that is needed in some way.
    pub(super) fn host(&mut self, way: Way, host: &str) {
        if self.hosts.len() < HOSTS_MAX && self.hosts.insert((way, host.to_owned())) {
            self.waiting.push((way, host.to_owned()));
        }
    }

    /// Adds routes: what they are made of, what limits them, where they lead, and their other hosts.
    pub(super) fn routes(&mut self, routes: &Arc<Routes>, way: Way) {
        if !self.routes.insert((way, Arc::as_ptr(&routes.spec))) {
            return;
        }
        for source in routes.sources.iter() {
            self.resource(source);
            for policy in self.mesh().limits_of(source) {
                self.limit(policy);
            }
        }
        for host in routes.destination_hosts() {
            self.host(way, host);
        }
        if way == Way::Routed {
            for host in routes.hosts.iter().filter(|host| is_exact(host)) {
                self.host(Way::Named, &host.to_ascii_lowercase());
            }
        }
    }

    /// Adds a policy of limits and the service that counts for it.
    pub(super) fn limit(&mut self, policy: &Arc<Resource>) {
        self.resource(policy);
        if let Some(host) = self.mesh().counting_service(policy) {
            self.host(Way::Beyond, &host);
        }
    }

    /// Adds a service, and those without which it would be another.
    pub(super) fn service(&mut self, service: &Arc<Service>) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        // No recursion: whoever may write services can have any number of them bring along each other.
        let mut waiting = vec![service];
        while let Some(service) = waiting.pop() {
            if !self.services.insert(Arc::as_ptr(service)) {
                continue;
            }
            self.service_alone(service);
            waiting.extend(mesh.sharing_addresses(viewer, service));
            // Its address has to be the same in every part of the mesh.
            waiting.extend(mesh.rivals(viewer, service));
        }
    }

    /// Adds a service: what it is made of, its endpoints, the rules for it, what its workloads take, and
    /// all that governs traffic by its name.
    fn service_alone(&mut self, service: &Service) {
        let mesh = self.mesh();
        for source in &service.sources {
            self.resource(source);
            match &source.spec {
                Spec::Service(_) => {
                    self.scope.services.insert(service_key(source));
                }
                // It is another host's too.
                Spec::ServiceEntry(entry) => {
                    for host in &entry.hosts {
                        self.named_by(host, &service.namespace);
                        self.owner(host);
                    }
                }
                _ => {}
            }
        }
        self.rules(&service.host, &service.namespace);
        if self.reached.insert(service.namespace.clone()) {
            for policy in mesh.peer_authentications_of(&service.namespace) {
                self.resource(policy);
            }
        }
        self.named_by(&service.host, &service.namespace);
    }

    /// Has a host added as a service of a namespace writes it, unless it is a wildcard. Of two services
    /// that write the same short name in different namespaces one counts.
    fn named_by(&mut self, host: &str, namespace: &str) {
        if is_exact(host) {
            let completed = self.mesh().resolve(host, namespace);
            self.host(Way::Named, &completed);
            self.host(Way::Named, host);
        }
    }

    /// Adds what may take connections from a service of a wildcard: others of the same, of which one counts,
    /// and routes for hosts that it covers. Where nothing names a host nobody can ask for these.
    pub(super) fn covered(&mut self, wildcard: &str) {
        if is_exact(wildcard) {
            return;
        }
        let (mesh, viewer) = (self.mesh(), self.viewer());
        let same = mesh.services().filter(|it| it.host == wildcard);
        for other in same.filter(|it| it.visible_to(viewer)) {
            self.service(other);
        }
        let wildcard = wildcard.to_ascii_lowercase();
        let routes = match mesh.egress_listeners(viewer) {
            None => mesh.mesh_routes(viewer),
            Some(listeners) => {
                let routes = listeners.iter().map(|it| mesh.egress_routes(viewer, it));
                routes.flatten().collect()
            }
        };
        for routes in &routes {
            let mut hosts = routes.hosts.iter().map(|host| host.to_ascii_lowercase());
            if hosts.any(|host| host == wildcard || covers(&wildcard, &host)) {
                self.routes(routes, Way::Routed);
            }
        }
    }

    /// Adds the Kubernetes service that has a name, if one does, for the sake of its name alone: no entry
    /// takes it, whether the workload sees the service or not.
    fn owner(&mut self, host: &str) {
        let owner = self.mesh().gateway_service(self.viewer(), host);
        let owner = owner.filter(|it| it.host == host);
        let definition = owner.and_then(|it| it.sources.first());
        if let Some(definition) = definition
            && let Spec::Service(_) = definition.spec
        {
            self.resource(definition);
        }
    }

    fn rules(&mut self, host: &str, namespace: &str) {
        self.ruled.insert(self.mesh().resolve(host, namespace));
        for rule in self.mesh().host_rules(self.viewer(), host, namespace) {
            self.resource(rule);
        }
    }

    /// Adds what waits to be added, and what that brings along.
    fn complete(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        while let Some((way, host)) = self.waiting.pop() {
            let service = match way {
                Way::Named => {
                    for routes in mesh.host_routes(viewer, &host) {
                        self.routes(&routes, Way::Routed);
                    }
                    for service in mesh.host_services(viewer, &host) {
                        self.service(service);
                    }
                    continue;
                }
                Way::Routed => mesh.destination_service(viewer, &host),
                Way::Beyond => mesh.gateway_service(viewer, &host),
            };
            let Some(service) = service else { continue };
            self.service(service);
            // The host may be one that a wildcard covers.
            self.rules(&host, &service.namespace);
        }
    }
}

/// Whether a host names one thing.
pub(super) fn is_exact(host: &str) -> bool {
    !host.starts_with('*')
}
