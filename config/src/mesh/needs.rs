//! What of a mesh has a word in traffic of a viewer: for whoever gives a proxy a part of the mesh.
//!
//! A part is enough for a host if everything that may decide where its traffic goes is in it. Which of
//! several counts is left to the other lookups: what loses anyway may be there or not.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::own::is_served_by;
use super::policy::Client;
use super::scope::{imports_service, preferred};
use super::visibility::{Relation, imports};
use super::{Mesh, Protocol, Routes, Service, Viewer, covers};
use crate::ip_block::IpBlock;
use crate::resource::rate_limit_policy::RateLimitPolicy;
use crate::resource::sidecar::EgressListener;
use crate::resource::{Resource, Spec};

#[cfg(test)]
mod tests;

/// Indexes that a proxy with the whole mesh has no use for. Made when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct NeedsIndex {
    by_address: FxHashMap<IpAddr, Vec<Arc<Service>>>,
    networks: Vec<(IpBlock, Arc<Service>)>,
    /// Services that nothing but the number of a port tells from others: what is spoken there names
    /// nobody.
    by_port: FxHashMap<u16, Vec<Arc<Service>>>,
    by_namespace: FxHashMap<String, Vec<Arc<Service>>>,
    /// Hosts that are not written in lower case, as they are and completed, by their lower-case form.
    spellings: FxHashMap<String, Vec<String>>,
    /// Wildcards among them, as they are written.
    mixed_wildcards: Vec<String>,
    /// Services by the slot that was allotted to them.
    by_slot: FxHashMap<u16, Arc<Service>>,
    peer_authentications: FxHashMap<String, Vec<Arc<Resource>>>,
    /// Policies that target a `VirtualService`, by its namespace and name.
    limits: FxHashMap<(String, String), Vec<Arc<Resource>>>,
}

// === impl NeedsIndex ===

impl NeedsIndex {
    fn new(mesh: &Mesh) -> Self {
        let mut index = Self::default();
        for service in mesh.services() {
            index.add(mesh, service);
        }
        for resource in &mesh.kinds.peer_authentications {
            let namespace = resource.meta.namespace.clone();
            let policies = index.peer_authentications.entry(namespace).or_default();
            policies.push(Arc::clone(resource));
        }
        for resource in &mesh.kinds.rate_limit_policies {
            let Spec::RateLimitPolicy(policy) = &resource.spec else {
                continue;
            };
            for target in &policy.target_refs {
                let key = (resource.meta.namespace.clone(), target.name.clone());
                let policies = index.limits.entry(key).or_default();
                policies.push(Arc::clone(resource));
            }
        }
        index
    }

    fn add_spelling(&mut self, mesh: &Mesh, service: &Service) {
        let host = &service.host;
        if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return;
        }
        if host.starts_with('*') {
            self.mixed_wildcards.push(host.clone());
            return;
        }
        for spelled in [host.clone(), mesh.resolve(host, &service.namespace)] {
            let lower = spelled.to_ascii_lowercase();
            let known = self.spellings.entry(lower).or_default();
            if !known.contains(&spelled) {
                known.push(spelled);
            }
        }
    }

    fn add(&mut self, mesh: &Mesh, service: &Arc<Service>) {
        let of_namespace = self.by_namespace.entry(service.namespace.clone());
        of_namespace.or_default().push(Arc::clone(service));
        self.add_spelling(mesh, service);
        if let Some(slot) = mesh.allotment.slot(service) {
            self.by_slot.insert(slot, Arc::clone(service));
        }
        for block in mesh.addresses(service) {
            match block.alone() {
                Some(ip) => {
                    let at = self.by_address.entry(ip.to_canonical()).or_default();
                    at.push(Arc::clone(service));
                }
                None => self.networks.push((block, Arc::clone(service))),
            }
        }
        if service.headless || !service.addresses.is_empty() {
            return;
        }
        for port in service.ports.iter().filter(|it| is_mute(it.protocol)) {
            let at = self.by_port.entry(port.number).or_default();
            at.push(Arc::clone(service));
        }
    }
}

/// Whether nothing that is spoken on a port names a host.
fn is_mute(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql => true,
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => false,
        Protocol::Https | Protocol::Tls | Protocol::Auto => false,
    }
}

// === impl Mesh ===

impl Mesh {
    fn needs(&self) -> &NeedsIndex {
        self.needs.get_or_init(|| NeedsIndex::new(self))
    }

    /// The hosts that a request of the viewer may mean by `name`: as it is, and completed by what
    /// Kubernetes' DNS lets callers leave out.
    pub fn meant_by(&self, viewer: &Viewer, name: &str) -> Vec<String> {
        let domain = &self.settings.domain;
        let mut hosts = vec![name.to_owned()];
        let mut parts = name.split('.');
        let completed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(short), None, ..) => Some(format!("{short}.{}.svc.{domain}", viewer.namespace)),
            (Some(_), Some(_), None, _) => Some(format!("{name}.svc.{domain}")),
            (Some(_), Some(_), Some("svc"), None) => Some(format!("{name}.{domain}")),
            _ => None,
        };
        hosts.extend(completed);
        // One pod of a headless service.
        let of_pod = name.split_once('.').and_then(|(_, rest)| {
            let service = self.registry.of(rest).first()?;
            service.headless.then(|| rest.to_owned())
        });
        hosts.extend(of_pod);
        hosts
    }

    /// Routes that have a word in traffic of the viewer's sidecar to a completed host: for its name, or
    /// for a wildcard that covers it.
    pub fn host_routes(&self, viewer: &Viewer, host: &str) -> Vec<Arc<Routes>> {
        let egress = self.egress_listeners(viewer);
        let in_scope = |routes: &&Arc<Routes>| {
            egress.is_none_or(|listeners| {
                listeners
                    .iter()
                    .any(|it| imports_routes(it, viewer, routes))
            })
        };
        self.routes
            .for_host(host, &viewer.namespace, &self.settings.domain)
            .into_iter()
            .filter(in_scope)
            .cloned()
            .collect()
    }

    /// Services that the viewer's sidecar may take a completed host for: those with its name, and those
    /// of wildcards that cover it.
    pub fn host_services(&self, viewer: &Viewer, host: &str) -> Vec<&Arc<Service>> {
        let mut found: Vec<&Arc<Service>> = Vec::new();
        for services in self.candidates(host) {
            let Some(listeners) = self.egress_listeners(viewer) else {
                let mut services = services.iter();
                found.extend(services.find(|service| service.visible_to(viewer)));
                continue;
            };
            for listener in listeners {
                let at_its_port = |it: &Service| imports_service(listener, viewer, it);
                let at_any = |it: &Service| imports_at_any_port(listener, viewer, it);
                found.extend(preferred(services, viewer, at_its_port));
                found.extend(preferred(services, viewer, at_any));
            }
        }
        found
    }

    /// All services for a completed host, by its name and by wildcards, in whatever case they are written:
    /// requests name hosts in any.
    fn candidates(&self, host: &str) -> Vec<&[Arc<Service>]> {
        let (index, lower) = (self.needs(), host.to_ascii_lowercase());
        let mut found = self.registry.candidates(&lower);
        for spelled in index.spellings.get(&lower).into_iter().flatten() {
            found.extend(self.registry.candidates(spelled));
        }
        let wildcards = index.mixed_wildcards.iter();
        let covering = wildcards.filter(|it| covers(&it.to_ascii_lowercase(), &lower));
        found.extend(covering.map(|wildcard| self.registry.of(wildcard)));
        found
    }

    /// The rules that decide about traffic of the viewer to a host of a namespace's service, those among
    /// them that are for other workloads of the viewer's namespace.
    pub fn host_rules(&self, viewer: &Viewer, host: &str, namespace: &str) -> Vec<&Arc<Resource>> {
        let host = self.resolve(host, namespace);
        let client = Client {
            namespace: &viewer.namespace,
            labels: Some(&viewer.labels),
        };
        let deciding = self
            .rules
            .deciding(client, &host, Some(namespace), &self.settings);
        let rules = deciding.into_iter().flat_map(|it| it.rules);
        rules.map(|(resource, _)| resource).collect()
    }

    /// Services that callers in the viewer's place mean by an address: whose own it is, or within whose
    /// block it lies.
    pub fn services_at(&self, viewer: &Viewer, ip: IpAddr) -> Vec<&Arc<Service>> {
        let ip = ip.to_canonical();
        let index = self.needs();
        let alone = index.by_address.get(&ip).into_iter().flatten();
        let networks = index.networks.iter();
        let within = networks.filter(|(block, _)| block.contains(ip));
        alone
            .chain(within.map(|(_, service)| service))
            .filter(|service| self.is_in_scope(viewer, service))
            .collect()
    }

    /// Services that have an address in common with this one, itself among them: one of them counts.
    pub fn sharing_addresses(&self, viewer: &Viewer, service: &Service) -> Vec<&Arc<Service>> {
        let alone = self.addresses(service).filter_map(|block| block.alone());
        let at = alone.filter_map(|ip| self.needs().by_address.get(&ip.to_canonical()));
        at.flatten()
            .filter(|other| self.is_in_scope(viewer, other))
            .collect()
    }

    /// Services in whose absence another address would be allotted to this one, as far as the viewer
    /// sees them.
    pub fn rivals(&self, viewer: &Viewer, service: &Service) -> Vec<&Arc<Service>> {
        let wanted = self.allotment.wanted(service).into_iter();
        let rivals = wanted.filter_map(|slot| self.needs().by_slot.get(&slot));
        rivals.filter(|rival| rival.visible_to(viewer)).collect()
    }

    /// Services of which nothing but the number of a port tells that they are meant.
    pub fn services_at_port(&self, viewer: &Viewer, port: u16) -> Vec<&Arc<Service>> {
        let services = self.needs().by_port.get(&port).into_iter().flatten();
        services
            .filter(|service| self.is_in_scope(viewer, service))
            .collect()
    }

    /// All services of a namespace.
    pub fn services_of(&self, namespace: &str) -> &[Arc<Service>] {
        let services = self.needs().by_namespace.get(namespace);
        services.map_or(&[], Vec::as_slice)
    }

    /// Whether what defines a service says that a workload serves it. A service without selector may be
    /// served by one of whose labels its slices alone know.
    pub fn serves(&self, workload: &Viewer, service: &Service) -> bool {
        is_served_by(service, workload)
    }

    /// Every `PeerAuthentication` that may concern workloads of a namespace: its own, and those of the
    /// root namespace.
    pub fn peer_authentications_of<'m>(
        &'m self,
        namespace: &'m str,
    ) -> impl Iterator<Item = &'m Arc<Resource>> {
        let root = self.settings.root_namespace.as_str();
        let own = (namespace != root).then_some(namespace);
        let policies = &self.needs().peer_authentications;
        let namespaces = own.into_iter().chain([root]);
        namespaces.flat_map(|it| policies.get(it).into_iter().flatten())
    }

    /// Policies that limit requests which meet rules of a `VirtualService`.
    pub fn limits_of(&self, routes: &Resource) -> &[Arc<Resource>] {
        let key = (routes.meta.namespace.clone(), routes.meta.name.clone());
        self.needs().limits.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The `MeshConfig` that counts.
    pub fn mesh_config_resource(&self) -> Option<&Arc<Resource>> {
        self.kinds.mesh_configs.first()
    }

    /// The host of the service that counts requests for a policy, completed, if it is not the proxy.
    pub fn counting_service(&self, resource: &Resource) -> Option<String> {
        let Spec::RateLimitPolicy(RateLimitPolicy { service, .. }) = &resource.spec else {
            return None;
        };
        let host = &service.as_ref()?.host;
        Some(self.resolve(host, &resource.meta.namespace))
    }

    /// The host of the service that decides for policies which name a provider, completed.
    pub fn deciding_service(&self, provider: &str) -> Option<String> {
        let (provider, written_in) = self.provider(provider)?;
        let authorizer = provider.authorizer()?;
        let namespace = authorizer.namespace().unwrap_or(written_in);
        Some(self.resolve(authorizer.host(), namespace))
    }

    /// Whether the viewer's sidecar may take an address or a port for this service.
    fn is_in_scope(&self, viewer: &Viewer, service: &Service) -> bool {
        let imported = || {
            self.egress_listeners(viewer).is_none_or(|listeners| {
                let mut listeners = listeners.iter();
                listeners.any(|it| imports_at_any_port(it, viewer, service))
            })
        };
        service.visible_to(viewer) && imported()
    }
}

fn imports_routes(listener: &EgressListener, viewer: &Viewer, routes: &Routes) -> bool {
    routes.hosts.iter().any(|host| {
        let owned = (routes.namespace.as_str(), host.as_str());
        let own = &viewer.namespace;
        imports(&listener.hosts, own, owned, Relation::Overlapping)
    })
}

fn imports_at_any_port(listener: &EgressListener, viewer: &Viewer, service: &Service) -> bool {
    let owned = (service.namespace.as_str(), service.host.as_str());
    let own = &viewer.namespace;
    imports(&listener.hosts, own, owned, Relation::Covered)
}
