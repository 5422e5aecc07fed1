//! `VirtualService` resources as they apply: names completed, delegates merged, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use super::delegate::merge_rule;
use super::name::{self, MESH_GATEWAY, resolve, resolve_gateway};
use super::visibility::exported;
use crate::resource::gateway::Server;
use crate::resource::virtual_service::{
    Delegate, Destination, HttpRoute, RouteDestination, VirtualService,
};
use crate::resource::{Metadata, Resource, Spec};

mod by_host;

use by_host::ByHost;

/// One `VirtualService` as it applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    /// Name of the `VirtualService`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Hosts, completed; for a gateway's server only what lies within the server's hosts.
    pub hosts: Vec<String>,
    /// The spec with completed hosts and destinations, gateways as `namespace/name`, and the rules
    /// of delegates in place of those that refer to them. Shared between gateways and generations:
    /// as long as no source changes the pointer stays the same.
    pub spec: Arc<VirtualService>,
    /// Annotations of the `VirtualService`.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The `VirtualService` and its delegates: everything whose change changes this.
    pub sources: Arc<[Arc<Resource>]>,
    /// For each rule of `spec.http` the resource that it was written in.
    pub origin: Arc<[Arc<Resource>]>,
}

/// What became of a rule with `delegate`.
#[derive(Debug, Clone)]
pub(crate) enum Delegation {
    /// No such `VirtualService`.
    Missing,
    /// It has hosts of its own, so that it is no delegate.
    NotADelegate,
    /// Not exported to the namespace of the root.
    Invisible,
    /// Found.
    Found(Arc<Resource>),
}

/// All `VirtualService` resources by what they are bound to.
#[derive(Debug, Default)]
pub(super) struct RouteIndex {
    entries: Vec<Entry>,
    by_gateway: FxHashMap<String, Vec<usize>>,
    by_name: FxHashMap<String, Arc<Resource>>,
    /// Made when it is first asked for: a proxy that has the whole mesh never does.
    by_host: OnceLock<ByHost>,
}

/// A `VirtualService` that is no delegate. It is completed when it is first asked for: most
/// proxies need few of many.
#[derive(Debug)]
struct Entry {
    resource: Arc<Resource>,
    routes: OnceLock<Arc<Routes>>,
}

// === impl RouteIndex ===

impl RouteIndex {
    /// Indexes resources that are ordered by precedence, and takes over from `previous` what has
    /// not changed.
    pub(super) fn new(resources: &[Arc<Resource>], previous: Option<&Self>) -> Self {
        let mut index = Self::default();
        for resource in resources {
            let Spec::VirtualService(spec) = &resource.spec else {
                continue;
            };
            let meta = &resource.meta;
            index.by_name.insert(
                format!("{}/{}", meta.namespace, meta.name),
                Arc::clone(resource),
            );
            if spec.hosts.is_empty() {
                continue;
            }
            let place = index.entries.len();
            index.entries.push(Entry {
                resource: Arc::clone(resource),
                routes: OnceLock::new(),
            });
            if spec.gateways.is_empty() {
                index.bind(MESH_GATEWAY.to_owned(), place);
            }
            for gateway in &spec.gateways {
                index.bind(resolve_gateway(gateway, &meta.namespace), place);
            }
        }
        if let Some(previous) = previous {
            index.take_over(previous);
        }
        index
    }

    /// Resources bound to a gateway (`mesh` or `namespace/name`) and visible from `namespace`, the
    /// one that takes precedence first.
    pub(super) fn bound(
        &self,
        gateway: &str,
        namespace: &str,
        domain: &str,
    ) -> impl Iterator<Item = &Arc<Routes>> {
        let places = self.by_gateway.get(gateway).map_or(&[][..], Vec::as_slice);
        places
            .iter()
            .filter_map(move |&place| self.visible(place, namespace, domain))
    }

    /// The entry at a place, completed, if `namespace` sees it.
    fn visible(&self, place: usize, namespace: &str, domain: &str) -> Option<&Arc<Routes>> {
        let entry = &self.entries[place];
        let meta = &entry.resource.meta;
        let Spec::VirtualService(spec) = &entry.resource.spec else {
            return None;
        };
        exported(&spec.export_to, &meta.namespace, namespace).then(|| {
            entry
                .routes
                .get_or_init(|| Arc::new(self.complete(&entry.resource, spec, domain)))
        })
    }

    /// The resource with this name.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(&format!("{namespace}/{name}"))
    }

    /// What a reference to a delegate leads to.
    pub(super) fn delegation(&self, root: &Metadata, delegate: &Delegate) -> Delegation {
        let named = delegate
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty());
        let namespace = named.unwrap_or(&root.namespace);
        let Some(resource) = self.by_name.get(&format!("{namespace}/{}", delegate.name)) else {
            return Delegation::Missing;
        };
        let Spec::VirtualService(spec) = &resource.spec else {
            return Delegation::Missing;
        };
        if !spec.hosts.is_empty() {
            Delegation::NotADelegate
        } else if exported(&spec.export_to, namespace, &root.namespace) {
            Delegation::Found(Arc::clone(resource))
        } else {
            Delegation::Invisible
        }
    }

    fn bind(&mut self, gateway: String, place: usize) {
        let places = self.by_gateway.entry(gateway).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    /// Takes over completed routes whose sources are the same objects as before.
    fn take_over(&mut self, previous: &Self) {
        let known: FxHashMap<*const Resource, &Arc<Routes>> = previous
            .entries
            .iter()
            .filter_map(|entry| Some((Arc::as_ptr(&entry.resource), entry.routes.get()?)))
            .collect();
        for entry in &self.entries {
            let Some(&routes) = known.get(&Arc::as_ptr(&entry.resource)) else {
                continue;
            };
            let now = self.sources(&entry.resource);
            let same = now.len() == routes.sources.len()
                && now
                    .iter()
                    .zip(routes.sources.iter())
                    .all(|(a, b)| Arc::ptr_eq(a, b));
            if same {
                entry.routes.get_or_init(|| Arc::clone(routes));
            }
        }
    }

    /// The resource and the delegates that it reaches, each once.
    fn sources(&self, resource: &Arc<Resource>) -> Vec<Arc<Resource>> {
        let mut sources = vec![Arc::clone(resource)];
        let Spec::VirtualService(spec) = &resource.spec else {
            return sources;
        };
        for delegate in spec.http.iter().filter_map(|rule| rule.delegate.as_ref()) {
            if let Delegation::Found(found) = self.delegation(&resource.meta, delegate)
                && !sources.iter().any(|known| Arc::ptr_eq(known, &found))
            {
                sources.push(found);
            }
        }
        sources
    }

    fn complete(&self, resource: &Arc<Resource>, spec: &VirtualService, domain: &str) -> Routes {
        let meta = &resource.meta;
        let mut completed = spec.clone();
        complete_names(&mut completed, &meta.namespace, domain);
        let mut rules = Vec::with_capacity(completed.http.len());
        let mut origin = Vec::with_capacity(completed.http.len());
        for root in std::mem::take(&mut completed.http) {
            let Some(delegate) = &root.delegate else {
                rules.push(root);
                origin.push(Arc::clone(resource));
                continue;
            };
            if let Delegation::Found(found) = self.delegation(meta, delegate) {
                let merged = delegated(&root, &found, domain);
                origin.extend(std::iter::repeat_n(found, merged.len()));
                rules.extend(merged);
            }
        }
        completed.http = rules;
        Routes {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            hosts: completed.hosts.clone(),
            spec: Arc::new(completed),
            annotations: Arc::new(meta.annotations.clone()),
            sources: self.sources(resource).into(),
            origin: origin.into(),
        }
    }
}

/// The rules of a delegate under a rule of its root, whose names are completed.
fn delegated(root: &HttpRoute, delegate: &Resource, domain: &str) -> Vec<HttpRoute> {
    let Spec::VirtualService(spec) = &delegate.spec else {
        return Vec::new();
    };
    let mut own = spec.http.clone();
    for rule in &mut own {
        complete_rule(rule, &delegate.meta.namespace, domain);
    }
    // Delegates do not nest: a rule of theirs that delegates further has no effect.
    let own = own.iter().filter(|rule| rule.delegate.is_none());
    own.filter_map(|rule| merge_rule(root, rule)).collect()
}

// === impl Routes ===

impl Routes {
    /// The same routes for those of the hosts only that lie within a server's hosts.
    ///
    /// `gateway_namespace` is what `.` stands for in the server's hosts. `None` if nothing is left.
    pub(super) fn within(
        self: &Arc<Self>,
        server: &Server,
        gateway_namespace: &str,
    ) -> Option<Arc<Self>> {
        let mut hosts: Vec<String> = Vec::new();
        for own in &self.hosts {
            for served in &server.hosts {
                let (scope, pattern) = served.split_once('/').unwrap_or(("*", served));
                let admitted = match scope {
                    "*" => true,
                    "." => self.namespace == gateway_namespace,
                    named => self.namespace == named,
                };
                if admitted
                    && let Some(host) = name::intersect(own, pattern)
                    && !hosts.iter().any(|known| known == host)
                {
                    hosts.push(host.to_owned());
                }
            }
        }
        if hosts.is_empty() {
            return None;
        }
        if hosts == self.hosts {
            return Some(Arc::clone(self));
        }
        Some(Arc::new(Self {
            hosts,
            ..Self::clone(self)
        }))
    }

    /// Hosts of all destinations, mirrors included, completed; some more than once.
    pub fn destination_hosts(&self) -> impl Iterator<Item = &str> {
        let http = self.spec.http.iter().flat_map(|rule| {
            let routes = rule
                .route
                .iter()
                .filter_map(|route| route.destination.as_ref());
            let mirrors = rule
                .mirrors
                .iter()
                .filter_map(|mirror| mirror.destination.as_ref());
            routes.chain(&rule.mirror).chain(mirrors)
        });
        let tls = self.spec.tls.iter().flat_map(|rule| &rule.route);
        let tcp = self.spec.tcp.iter().flat_map(|rule| &rule.route);
        let opaque = tls
            .chain(tcp)
            .filter_map(|route| route.destination.as_ref());
        http.chain(opaque)
            .map(|destination| destination.host.as_str())
    }
}

fn complete_names(spec: &mut VirtualService, namespace: &str, domain: &str) {
    for host in &mut spec.hosts {
        *host = resolve(host, namespace, domain);
    }
    complete_gateways(&mut spec.gateways, namespace);
    for rule in &mut spec.http {
        complete_rule(rule, namespace, domain);
    }
    for rule in &mut spec.tls {
        rule.matches
            .iter_mut()
            .for_each(|m| complete_gateways(&mut m.gateways, namespace));
        complete_routes(&mut rule.route, namespace, domain);
    }
    for rule in &mut spec.tcp {
        rule.matches
            .iter_mut()
            .for_each(|m| complete_gateways(&mut m.gateways, namespace));
        complete_routes(&mut rule.route, namespace, domain);
    }
}

fn complete_rule(rule: &mut HttpRoute, namespace: &str, domain: &str) {
    let routes = rule
        .route
        .iter_mut()
        .filter_map(|route| route.destination.as_mut());
    let mirrors = rule
        .mirrors
        .iter_mut()
        .filter_map(|mirror| mirror.destination.as_mut());
    for destination in routes.chain(&mut rule.mirror).chain(mirrors) {
        complete_destination(destination, namespace, domain);
    }
    rule.matches
        .iter_mut()
        .for_each(|m| complete_gateways(&mut m.gateways, namespace));
}

fn complete_routes(routes: &mut [RouteDestination], namespace: &str, domain: &str) {
    for destination in routes
        .iter_mut()
        .filter_map(|route| route.destination.as_mut())
    {
        complete_destination(destination, namespace, domain);
    }
}

fn complete_destination(destination: &mut Destination, namespace: &str, domain: &str) {
    destination.host = resolve(&destination.host, namespace, domain);
}

fn complete_gateways(gateways: &mut [String], namespace: &str) {
    for gateway in gateways {
        *gateway = resolve_gateway(gateway, namespace);
    }
}

#[cfg(test)]
mod tests;
