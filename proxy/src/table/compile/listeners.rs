//! Which addresses take traffic, and the virtual hosts behind each.

mod capture;
mod gateway;
mod hosts;
mod opaque;
mod pieces;
mod port;
mod sidecar;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use config::Resource;
use config::mesh::{MESH_GATEWAY, Mesh, Routes, Service, Viewer};
use config::resource::virtual_service::HttpRoute;
use rustc_hash::FxHashMap;

use super::destinations::{Host, Place, Registry, View, same};
use super::rules::{RuleCompiler, is_catch_all};
use super::{Perspective, admission};
use crate::demand::Used;
use crate::inbound::Admission;
use crate::jwks::Issuers;
use crate::table::host::VirtualHost;
use crate::table::matcher::PathMatcher;
use crate::table::route::Route;
use crate::table::rules::{Rule, Rules};
use crate::table::{Bind, Listener};
use crate::tls::certificates::Certificates;
use gateway::Selectors;
use pieces::{Piece, PieceKey};
use port::MadePort;

/// What was made, by what it was made of, so that what did not change is not made again.
#[derive(Debug, Default)]
pub(super) struct Made {
    hosts: FxHashMap<CacheKey, Arc<Cached>>,
    pieces: FxHashMap<PieceKey, Arc<Piece>>,
    /// Listeners that stand for ports, by the port.
    ports: FxHashMap<u16, MadePort>,
}

/// For whom a virtual host is made: two servers of one gateway can have other routes for one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Frontend {
    /// `mesh`, or `namespace/name` of the gateway.
    gateway: Arc<str>,
    /// Position of the server in the gateway, or of the listener in the `Sidecar`.
    position: usize,
}

/// Frontend and host name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey(Frontend, String);

/// What a virtual host is made of.
struct Ingredients<'i> {
    /// The resources that govern it.
    routes: &'i [Arc<Routes>],
    /// The service that it leads to without any.
    own: Option<&'i Arc<Service>>,
    ports: Box<[u16]>,
}

/// What something was made of.
#[derive(Debug)]
struct Basis {
    routes: Vec<Arc<[Arc<Resource>]>>,
    /// The host that it leads to by itself.
    own: Option<Arc<Host>>,
    /// Hosts that the rules name, also for mirrors, and what they were; `None` for unknown ones.
    destinations: Vec<(String, Option<Arc<Host>>)>,
    uses: Vec<(Arc<Host>, Place)>,
}

#[derive(Debug)]
pub(super) struct Cached {
    basis: Basis,
    ports: Box<[u16]>,
    host: Arc<VirtualHost>,
}

/// One generation's listeners in the making.
pub(super) struct Plan<'p> {
    mesh: &'p Mesh,
    perspective: &'p Perspective,
    certificates: &'p Certificates,
    registry: &'p mut Registry,
    /// Of the generation before.
    before: &'p Made,
    /// Of this one.
    made: Made,
    /// What traffic must satisfy that comes to the workload.
    admission: Option<Arc<Admission>>,
    /// The same at ports of gateways where it is something else.
    at_gateways: FxHashMap<Bind, Option<Arc<Admission>>>,
    listeners: BTreeMap<Bind, Listener>,
}

// === impl Plan ===

impl<'p> Plan<'p> {
    pub(super) fn new(
        mesh: &'p Mesh,
        perspective: &'p Perspective,
        certificates: &'p Certificates,
        registry: &'p mut Registry,
        before: &'p Made,
    ) -> Self {
        Self {
            mesh,
            perspective,
            certificates,
            registry,
            before,
            made: Made::default(),
            admission: None,
            at_gateways: FxHashMap::default(),
            listeners: BTreeMap::new(),
        }
    }

    /// Lets in only what policies admit; comes before the listeners.
    pub(super) fn admit(&mut self, issuers: &mut Issuers) {
        let mut compile = |workloads: &[Viewer]| {
            admission::compile(
                self.mesh,
                self.perspective,
                workloads,
                self.registry,
                issuers,
            )
        };
        self.admission = compile(std::slice::from_ref(&self.perspective.viewer));
        let mut made: BTreeMap<Selectors, Option<Arc<Admission>>> = BTreeMap::new();
        for (bind, selectors) in gateway::selectors(self.mesh, self.perspective) {
            let admission = made.entry(selectors).or_insert_with_key(|selectors| {
                let workloads = selectors.iter().map(|labels| Viewer {
                    namespace: self.perspective.viewer.namespace.clone(),
                    labels: labels.clone(),
                });
                compile(&workloads.collect::<Vec<_>>())
            });
            self.at_gateways.insert(bind, admission.clone());
        }
    }

    /// The virtual host of `host`, from the cache if it would be the same again.
    fn virtual_host(
        &mut self,
        frontend: &Frontend,
        host: &str,
        ingredients: Ingredients<'_>,
    ) -> Arc<VirtualHost> {
        let view = frontend.view();
        let Ingredients { routes, own, ports } = ingredients;
        let own = own.map(|service| self.registry.host_of(self.mesh, host, service));
        let key = CacheKey(frontend.clone(), host.to_owned());
        let cached = self.before.hosts.get(&key).filter(|cached| {
            let basis = &cached.basis;
            cached.ports == ports
                && basis.is_made_of(routes, own.as_ref())
                && basis.leads_to_the_same(self.mesh, view, self.registry)
        });
        let cached = match cached {
            Some(cached) => {
                self.registry.use_again(&cached.basis.uses);
                Arc::clone(cached)
            }
            None => Arc::new(self.compile_host(&key, routes, own, ports)),
        };
        let compiled = Arc::clone(&cached.host);
        self.made.hosts.insert(key, cached);
        compiled
    }

    fn compile_host(
        &mut self,
        key: &CacheKey,
        routes: &[Arc<Routes>],
        own: Option<Arc<Host>>,
        ports: Box<[u16]>,
    ) -> Cached {
        let CacheKey(frontend, host) = key;
        let view = frontend.view();
        let mut compiler = self.rule_compiler(frontend);
        let mut rules: Vec<Rule> = Vec::new();
        for routes in routes {
            rules.extend(compiler.rules(routes));
        }
        if let Some(own) = &own {
            rules.push(compiler.default_rule(own, &ports));
        }
        rules.sort_by_key(is_catch_all);
        let (uses, elsewhere) = (compiler.uses, compiler.elsewhere);
        let compiled = VirtualHost {
            name: host.as_str().into(),
            ports: ports.clone(),
            rules: Rules::new(rules),
            elsewhere: elsewhere.into(),
            used: Used::default(),
        };
        let names = routes.iter().flat_map(|it| destination_hosts(it));
        let destinations = self.destinations(view, names.collect());
        Cached {
            basis: Basis {
                routes: sources(routes),
                own,
                destinations,
                uses,
            },
            ports,
            host: Arc::new(compiled),
        }
    }

    fn rule_compiler<'r>(&'r mut self, frontend: &'r Frontend) -> RuleCompiler<'r> {
        RuleCompiler {
            mesh: self.mesh,
            perspective: self.perspective,
            registry: self.registry,
            gateway: &frontend.gateway,
            view: frontend.view(),
            uses: Vec::new(),
            blocks: 0,
            elsewhere: Vec::new(),
        }
    }

    /// What hosts that rules name are by now.
    fn destinations(
        &mut self,
        view: View,
        mut names: Vec<String>,
    ) -> Vec<(String, Option<Arc<Host>>)> {
        names.sort_unstable();
        names.dedup();
        let destinations = names.into_iter().map(|name| {
            let host = self.registry.host(self.mesh, view, &name);
            (name, host)
        });
        destinations.collect()
    }

    /// The listeners, sorted by address, and what they are made of for the next generation.
    pub(super) fn finish(self) -> (Vec<Arc<Listener>>, Made) {
        let listeners = self.listeners.into_values().map(Arc::new).collect();
        (listeners, self.made)
    }
}

// === impl Frontend ===

impl Frontend {
    /// A listener for sidecars at this position.
    fn mesh(position: usize) -> Self {
        Self {
            gateway: MESH_GATEWAY.into(),
            position,
        }
    }

    fn view(&self) -> View {
        match &*self.gateway {
            MESH_GATEWAY => View::Mesh,
            _ => View::Gateway,
        }
    }
}

// === impl Basis ===

impl Basis {
    fn is_made_of(&self, routes: &[Arc<Routes>], own: Option<&Arc<Host>>) -> bool {
        self.routes.len() == routes.len()
            && self
                .routes
                .iter()
                .zip(routes)
                .all(|(made_of, routes)| same(made_of, &routes.sources))
            && is_same_host(self.own.as_ref(), own)
    }

    fn leads_to_the_same(&self, mesh: &Mesh, view: View, registry: &mut Registry) -> bool {
        self.destinations.iter().all(|(name, before)| {
            is_same_host(before.as_ref(), registry.host(mesh, view, name).as_ref())
        })
    }
}

fn is_same_host(before: Option<&Arc<Host>>, now: Option<&Arc<Host>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn sources(routes: &[Arc<Routes>]) -> Vec<Arc<[Arc<Resource>]>> {
    routes.iter().map(|it| Arc::clone(&it.sources)).collect()
}

/// Every host that rules lead to, by their routes and by their mirrors.
fn destination_hosts(routes: &Routes) -> Vec<String> {
    let of_rule = |rule: &HttpRoute| -> Vec<String> {
        let routed = rule.route.iter().map(|entry| &entry.destination);
        let mirrored = rule.mirrors.iter().map(|mirror| &mirror.destination);
        let named = routed.chain([&rule.mirror]).chain(mirrored).flatten();
        named.map(|destination| destination.host.clone()).collect()
    };
    routes.spec.http.iter().flat_map(of_rule).collect()
}

/// Where a listener binds: what it names, else `default`.
fn bind_addr(named: Option<&str>, default: IpAddr, port: u16) -> Bind {
    let named = named.filter(|named| !named.is_empty());
    if let Some(path) = named.and_then(|named| named.strip_prefix("unix://")) {
        return Bind::Unix(PathBuf::from(path));
    }
    let ip = named
        .and_then(|named| named.parse().ok())
        .unwrap_or(default);
    Bind::Tcp(SocketAddr::new(ip, port))
}

/// A virtual host that does one thing with every request.
fn every_request(route: Route) -> Arc<VirtualHost> {
    let name = Arc::clone(&route.name);
    let rule = Rule {
        path: PathMatcher::Any,
        others: None,
        route: Arc::new(route),
        block: 0,
        number: 0,
    };
    Arc::new(VirtualHost {
        name,
        ports: Box::default(),
        rules: Rules::new(vec![rule]),
        elsewhere: Box::default(),
        used: Used::default(),
    })
}
