//! The set of resources and Istio's lookup rules, as pure functions.
//!
//! A [`Mesh`] is one generation: it never changes. Who looks is always an argument, a [`Viewer`],
//! so that the same mesh serves one proxy from files and every proxy of a control plane.
//!
//! What depends on a request or on the port it came to is deliberately absent: `sourceLabels`,
//! `sourceNamespace`, `gateways` and `port` of a match block stay in the routes as conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::resource::gateway::Server;
use crate::resource::mesh_config::PathNormalization;
use crate::resource::secret::Secret;
use crate::resource::virtual_service::Delegate;
use crate::resource::{Metadata, Resource, Spec};

mod addresses;
mod allot;
mod delegate;
#[cfg(test)]
pub(crate) mod fixture;
mod kinds;
mod kubernetes;
mod mesh_config;
mod mutual_tls;
mod name;
mod needs;
mod order;
mod own;
mod policy;
mod rate_limit;
mod registry;
mod routes;
mod scope;
mod security;
mod service;
mod service_entry;
mod visibility;

pub use allot::Allotted;
pub use kubernetes::{labels_of_slice, service_of_slice};
pub use mutual_tls::{Accepts, MutualTlsPolicy};
pub use name::{MESH_GATEWAY, covers, intersect, resolve_gateway};
pub use own::OwnPort;
pub use policy::{EffectivePolicy, HostPolicy, Subset};
pub use rate_limit::{Limiting, Subject};
pub use routes::Routes;
pub use service::{Address, Endpoint, Location, Port, PortMap, Protocol, Resolution, Service};
pub use service_entry::locality_of;

pub(crate) use delegate::merge_rule;
pub(crate) use order::in_precedence;
pub(crate) use routes::Delegation;
pub(crate) use visibility::exports_overlap;

use allot::Allotment;
use kinds::Kinds;
use needs::NeedsIndex;
use policy::{Client, RuleIndex};
use registry::Registry;
use routes::RouteIndex;
use scope::ScopeKey;
use visibility::exported;

/// Settings that concern the mesh as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// DNS domain of Kubernetes services.
    pub domain: String,
    /// Namespace whose rules apply to all others.
    pub root_namespace: String,
    /// Trust domains besides that of the proxy whose identities count as those of the mesh.
    pub trust_domains: Vec<String>,
    /// Proxies in front of this one that are believed whom they got a request from; the rest of
    /// `x-forwarded-for` is the client's own word.
    pub trusted_proxies: u32,
    /// How far paths are brought to normal form before policies look at them.
    pub path_normalization: PathNormalization,
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
    /// As they were given, and with what a `MeshConfig` says besides.
    given: MeshSettings,
    settings: MeshSettings,
    kinds: Kinds,
    registry: Registry,
    allotment: Allotment,
    routes: RouteIndex,
    rules: RuleIndex,
    sidecars: FxHashMap<String, Vec<Arc<Resource>>>,
    /// Hosts that the routes in scope of a `Sidecar` lead to. Remembered because finding them means
    /// walking over all routes.
    inferred: Mutex<FxHashMap<ScopeKey, Arc<FxHashSet<String>>>>,
    needs: OnceLock<NeedsIndex>,
}

// === impl MeshSettings ===

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            trust_domains: Vec::new(),
            trusted_proxies: 0,
            path_normalization: PathNormalization::default(),
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
        Self::build(resources, self.given.clone(), Some(self))
    }

    fn build(resources: &[Arc<Resource>], given: MeshSettings, previous: Option<&Self>) -> Self {
        let kinds = Kinds::new(resources);
        let settings = kinds.settings(&given);
        let mut sidecars: FxHashMap<String, Vec<Arc<Resource>>> = FxHashMap::default();
        for sidecar in &kinds.sidecars {
            sidecars
                .entry(sidecar.meta.namespace.clone())
                .or_default()
                .push(Arc::clone(sidecar));
        }
        let registry = Registry::new(&kinds, &settings.domain);
        Self {
            allotment: allot::allot(registry.all().iter().map(Arc::as_ref)),
            registry,
            routes: RouteIndex::new(&kinds.virtual_services, previous.map(|mesh| &mesh.routes)),
            rules: RuleIndex::new(&kinds.destination_rules, &settings.domain),
            sidecars,
            inferred: Mutex::default(),
            needs: OnceLock::new(),
            kinds,
            given,
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

    /// The virtual addresses that callers reach a service by which has none of its own; `None` for one
    /// that has some, or that can have none.
    pub fn allotted(&self, service: &Service) -> Option<Allotted> {
        self.allotment.of(service)
    }

    /// The same for traffic through a gateway, which no `Sidecar` restricts: `exportTo` alone.
    pub fn gateway_service(&self, viewer: &Viewer, host: &str) -> Option<&Arc<Service>> {
        let visible = |service: &&Arc<Service>| service.visible_to(viewer);
        self.registry
            .find(host, |services| services.iter().find(visible))
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

    /// The secret with this name.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        let mut secrets = self.kinds.secrets.iter();
        secrets.find_map(|resource| match &resource.spec {
            Spec::Secret(secret)
                if resource.meta.namespace == namespace && resource.meta.name == name =>
            {
                Some(secret)
            }
            _ => None,
        })
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
        let client = Client {
            namespace: &viewer.namespace,
            labels: Some(&viewer.labels),
        };
        Arc::new(self.policy_for(client, service_host, namespace))
    }

    /// What governs traffic to a service for some workload of a namespace: rules count whatever
    /// workload they select.
    pub(crate) fn any_policy(&self, namespace: &str, service: &Service) -> HostPolicy {
        let client = Client {
            namespace,
            labels: None,
        };
        self.policy_for(client, &service.host, Some(&service.namespace))
    }

    /// Rules name hosts completely, while a `ServiceEntry` keeps a short one as it is written.
    fn policy_for(&self, client: Client<'_>, host: &str, namespace: Option<&str>) -> HostPolicy {
        let completed = namespace.map(|namespace| self.resolve(host, namespace));
        let host = completed.as_deref().unwrap_or(host);
        self.rules.policy(client, host, namespace, &self.settings)
    }

    /// Whether someone has a service under this host, whoever sees it.
    pub(crate) fn has_service(&self, host: &str) -> bool {
        self.registry.has(host)
    }

    /// What a rule's reference to a delegate leads to.
    pub(crate) fn delegation(&self, root: &Metadata, delegate: &Delegate) -> Delegation {
        self.routes.delegation(root, delegate)
    }

    fn bound(&self, gateway: &str, viewer: &Viewer) -> impl Iterator<Item = &Arc<Routes>> {
        self.routes
            .bound(gateway, &viewer.namespace, &self.settings.domain)
    }
}

impl Service {
    /// Whether `exportTo` shows the service to a viewer.
    pub fn visible_to(&self, viewer: &Viewer) -> bool {
        exported(&self.export_to, &self.namespace, &viewer.namespace)
    }
}

#[cfg(test)]
mod tests;
