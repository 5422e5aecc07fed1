//! Which addresses take traffic, and the virtual hosts behind each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use config::mesh::{MESH_GATEWAY, Mesh, Protocol as Spoken, Routes, Service, covers};
use config::resource::gateway::Server;
use config::resource::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundMode, Sidecar,
};
use config::{Resource, Spec};
use rustc_hash::FxHashMap;

use super::Perspective;
use super::destinations::{Host, Place, Registry, View, Workload, same};
use super::rules::{RuleCompiler, is_catch_all};
use crate::table::host::{HostTable, VirtualHost};
use crate::table::matcher::PathMatcher;
use crate::table::redirect::Redirect;
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::rules::{Rule, Rules};
use crate::table::split::{DestinationByPort, Split, Target};
use crate::table::{Bind, Direction, Listener, PortRule, UnknownHost};
use crate::upstream::destination::Protocol;
use crate::upstream::endpoint::EndpointAddr;

/// The outbound listener of a proxy that no resource gives a listener.
const DEFAULT_OUTBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_001);

/// Virtual hosts by what they were made of, so that unchanged ones are not made again.
pub(super) type HostCache = FxHashMap<CacheKey, Arc<Cached>>;

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

#[derive(Debug)]
pub(super) struct Cached {
    made_of: Vec<Arc<[Arc<Resource>]>>,
    /// The host that it leads to by itself.
    own: Option<Arc<Host>>,
    /// Hosts that the rules name, and what they were; `None` for unknown ones.
    destinations: Vec<(String, Option<Arc<Host>>)>,
    uses: Vec<(Arc<Host>, Place)>,
    ports: Box<[u16]>,
    host: Arc<VirtualHost>,
}

/// One generation's listeners in the making.
pub(super) struct Plan<'p> {
    mesh: &'p Mesh,
    perspective: &'p Perspective,
    registry: &'p mut Registry,
    /// Of the generation before.
    cache: &'p HostCache,
    /// Of this one.
    made: HostCache,
    listeners: BTreeMap<Bind, Listener>,
}

// === impl Plan ===

impl<'p> Plan<'p> {
    pub(super) fn new(
        mesh: &'p Mesh,
        perspective: &'p Perspective,
        registry: &'p mut Registry,
        cache: &'p HostCache,
    ) -> Self {
        Self {
            mesh,
            perspective,
            registry,
            cache,
            made: HostCache::default(),
            listeners: BTreeMap::new(),
        }
    }

    /// Listeners of the gateways that this proxy opens.
    pub(super) fn gateways(&mut self) {
        for gateway in self.mesh.gateways(&self.perspective.viewer) {
            let Spec::Gateway(spec) = &gateway.spec else {
                continue;
            };
            for (position, server) in spec.servers.iter().enumerate() {
                self.server(gateway, position, server);
            }
        }
    }

    fn server(&mut self, gateway: &Resource, position: usize, server: &Server) {
        let Some(port) = &server.port else { return };
        let Ok(number) = u16::try_from(port.number) else {
            return;
        };
        if !Spoken::parse(&port.protocol).is_some_and(Spoken::is_http) {
            return;
        }
        let bind = bind_addr(server.bind.as_deref(), self.perspective.bind, number);
        let name: Arc<str> = format!("{}/{}", gateway.meta.namespace, gateway.meta.name).into();
        let hosts = if server
            .tls
            .as_ref()
            .is_some_and(|tls| tls.https_redirect == Some(true))
        {
            redirecting_hosts(server)
        } else {
            let frontend = Frontend {
                gateway: Arc::clone(&name),
                position,
            };
            self.gateway_hosts(gateway, server, &frontend)
        };
        let listener = self
            .listeners
            .entry(bind.clone())
            .or_insert_with(|| Listener {
                bind,
                name: format!("gateway {name}"),
                direction: Direction::Gateway,
                port_rule: PortRule::Listener(number),
                unknown_host: UnknownHost::NotFound,
                hosts: HostTable::default(),
            });
        for (name, host) in hosts {
            listener.hosts.insert(&name, &host);
        }
    }

    /// At a gateway the rules of all resources for one host count, those that match everything last.
    fn gateway_hosts(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
    ) -> Vec<(String, Arc<VirtualHost>)> {
        let mut by_host: BTreeMap<String, Vec<Arc<Routes>>> = BTreeMap::new();
        for routes in self
            .mesh
            .gateway_routes(&self.perspective.viewer, gateway, server)
        {
            for host in &routes.hosts {
                by_host
                    .entry(host.clone())
                    .or_default()
                    .push(Arc::clone(&routes));
            }
        }
        let compile = |(host, routes): (String, Vec<Arc<Routes>>)| {
            let compiled = self.virtual_host(
                frontend,
                &host,
                Ingredients {
                    routes: &routes,
                    own: None,
                    ports: Box::default(),
                },
            );
            (host, compiled)
        };
        by_host.into_iter().map(compile).collect()
    }

    /// Listeners of the `Sidecar`, or the one that a proxy without any has.
    pub(super) fn sidecar(&mut self) {
        let resource = self.mesh.sidecar(&self.perspective.viewer);
        if let Some(resource) = resource
            && let Spec::Sidecar(sidecar) = &resource.spec
        {
            let name = format!("sidecar {}/{}", resource.meta.namespace, resource.meta.name);
            for ingress in &sidecar.ingress {
                self.ingress(&name, ingress);
            }
            let unknown_host = unknown_host(sidecar);
            for (position, egress) in sidecar.egress.iter().enumerate() {
                if is_explicit(egress) {
                    self.egress(&name, position, egress, unknown_host);
                }
            }
        }
        if self.listeners.is_empty() {
            let services = self.mesh.visible_services(&self.perspective.viewer);
            let routes = self.mesh.mesh_routes(&self.perspective.viewer);
            let bind = Bind::Tcp(DEFAULT_OUTBOUND);
            let hosts = self.outbound_hosts(0, &services, &routes);
            self.listeners.insert(
                bind.clone(),
                Listener {
                    bind,
                    name: "outbound".to_owned(),
                    direction: Direction::Outbound,
                    port_rule: PortRule::Authority,
                    unknown_host: UnknownHost::NotFound,
                    hosts,
                },
            );
        }
    }

    fn ingress(&mut self, name: &str, ingress: &IngressListener) {
        let Some(port) = &ingress.port else { return };
        let Ok(number) = u16::try_from(port.number) else {
            return;
        };
        let Some(addr) = default_endpoint(ingress.default_endpoint.as_deref(), number) else {
            return;
        };
        let protocol = match Spoken::parse(&port.protocol) {
            Some(Spoken::Http2 | Spoken::Grpc) => Protocol::Http2,
            Some(Spoken::Auto) | None => Protocol::AsDownstream,
            Some(_) => Protocol::Http1,
        };
        let service = self.own_service(number);
        let workload = Workload {
            addr,
            protocol,
            service: service.map(|it| (it.host.clone(), it.namespace.clone())),
        };
        let id = self.registry.workload_destination(number, workload);
        let target = Target {
            host: "workload".into(),
            subset: None,
            port: None,
            weight: 1,
            destination: DestinationByPort::Fixed(id),
            request_headers: Default::default(),
            response_headers: Default::default(),
        };
        let mut route = Route::new("inbound", Action::Forward(Split::new(vec![target], None)));
        route.retries = RetryPolicy::inbound();
        let host = every_request(route);
        let mut hosts = HostTable::default();
        hosts.insert("*", &host);
        let bind = bind_addr(ingress.bind.as_deref(), self.perspective.bind, number);
        self.listeners.entry(bind.clone()).or_insert(Listener {
            bind,
            name: format!("{name} ingress"),
            direction: Direction::Inbound,
            port_rule: PortRule::Listener(number),
            unknown_host: UnknownHost::NotFound,
            hosts,
        });
    }

    /// The service that this workload serves at `port`: one of its namespace with an endpoint whose
    /// labels the workload has; rather one that has the port.
    fn own_service(&self, port: u16) -> Option<&'p Arc<Service>> {
        let viewer = &self.perspective.viewer;
        let is_us = |labels: &BTreeMap<String, String>| {
            !labels.is_empty()
                && labels
                    .iter()
                    .all(|(name, value)| viewer.labels.get(name) == Some(value))
        };
        let serves = |service: &&Arc<Service>| {
            service.namespace == viewer.namespace
                && service
                    .endpoints
                    .iter()
                    .any(|endpoint| is_us(&endpoint.labels))
        };
        let mesh = self.mesh;
        mesh.services()
            .filter(serves)
            .max_by_key(|service| service.port(port).is_some())
    }

    /// A listener whose port is that of services stands for this port; any other is an explicit
    /// proxy for all of them.
    fn egress(
        &mut self,
        name: &str,
        position: usize,
        egress: &EgressListener,
        unknown_host: UnknownHost,
    ) {
        let Some(number) = egress
            .port
            .as_ref()
            .and_then(|it| u16::try_from(it.number).ok())
        else {
            return;
        };
        let viewer = &self.perspective.viewer;
        let mut services = self.mesh.egress_services(viewer, egress);
        let port_rule = match services.is_empty() {
            false => PortRule::Listener(number),
            true => {
                let every_port = EgressListener {
                    port: None,
                    ..egress.clone()
                };
                services = self.mesh.egress_services(viewer, &every_port);
                PortRule::Authority
            }
        };
        let routes = self.mesh.egress_routes(viewer, egress);
        let hosts = self.outbound_hosts(position, &services, &routes);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = bind_addr(egress.bind.as_deref(), local, number);
        self.listeners.entry(bind.clone()).or_insert(Listener {
            bind,
            name: format!("{name} egress"),
            direction: Direction::Outbound,
            port_rule,
            unknown_host,
            hosts,
        });
    }

    /// Hosts of an outbound listener: what routes name, and every service under its names.
    fn outbound_hosts(
        &mut self,
        position: usize,
        services: &[&Arc<Service>],
        routes: &[Arc<Routes>],
    ) -> HostTable {
        let frontend = Frontend {
            gateway: MESH_GATEWAY.into(),
            position,
        };
        // Routes name hosts in full; a service may have been written with its short name.
        let named: Vec<(String, &Arc<Service>)> = services
            .iter()
            .map(|service| {
                (
                    self.mesh.resolve(&service.host, &service.namespace),
                    *service,
                )
            })
            .collect();
        let by_host: FxHashMap<&str, &Arc<Service>> = named
            .iter()
            .map(|(name, service)| (name.as_str(), *service))
            .collect();
        // Of two routes for one host the first wins; `order` keeps which that is.
        let mut governed: FxHashMap<&str, &Arc<Routes>> = FxHashMap::default();
        let mut order: Vec<&str> = Vec::new();
        for routes in routes.iter().filter(|routes| !routes.spec.http.is_empty()) {
            for host in &routes.hosts {
                governed.entry(host).or_insert_with(|| {
                    order.push(host);
                    routes
                });
            }
        }
        let mut wildcards: Vec<&str> = order.clone();
        wildcards.retain(|host| host.starts_with('*'));
        wildcards.sort_by_key(|host| std::cmp::Reverse(host.len()));
        let mut compiled: Vec<(&str, Option<&Service>, Arc<VirtualHost>)> = Vec::new();
        for host in order {
            let service = by_host.get(host);
            let ports = service.map_or_else(Box::default, |service| http_ports(service));
            let ingredients = Ingredients {
                routes: std::slice::from_ref(governed[host]),
                own: None,
                ports,
            };
            let made = self.virtual_host(&frontend, host, ingredients);
            compiled.push((host, service.map(|service| &***service), made));
        }
        let ungoverned = named
            .iter()
            .filter(|(name, _)| !governed.contains_key(name.as_str()));
        for (name, service) in ungoverned {
            let covering = wildcards.iter().find(|pattern| covers(pattern, name));
            let one = covering.map(|pattern| std::slice::from_ref(governed[pattern]));
            let ingredients = Ingredients {
                routes: one.unwrap_or_default(),
                own: one.is_none().then_some(*service),
                ports: http_ports(service),
            };
            let made = self.virtual_host(&frontend, name, ingredients);
            compiled.push((name, Some(service), made));
        }
        self.host_table(&compiled)
    }

    /// Names as written come first: no short form or address of one host may take that of another.
    fn host_table(&self, compiled: &[(&str, Option<&Service>, Arc<VirtualHost>)]) -> HostTable {
        let mut table = HostTable::default();
        for (host, _, made) in compiled {
            table.insert(host, made);
        }
        for (host, service, made) in compiled {
            self.insert_other_names(&mut table, host, *service, made);
        }
        table
    }

    /// A service answers also to the shorter forms that Kubernetes' DNS knows, and to its addresses.
    fn insert_other_names(
        &self,
        table: &mut HostTable,
        host: &str,
        service: Option<&Service>,
        compiled: &Arc<VirtualHost>,
    ) {
        let suffix = format!(".svc.{}", self.mesh.settings().domain);
        if let Some(short) = host.strip_suffix(&suffix) {
            table.insert(&format!("{short}.svc"), compiled);
            table.insert(short, compiled);
            if let Some((name, namespace)) = short.rsplit_once('.')
                && namespace == self.perspective.viewer.namespace
            {
                table.insert(name, compiled);
            }
        }
        for address in service.iter().flat_map(|service| &service.addresses) {
            if address.parse::<IpAddr>().is_ok() {
                table.insert(address, compiled);
            }
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
        let cached = self.cache.get(&key).filter(|cached| {
            cached.ports == ports
                && cached.is_made_of(routes, own.as_ref())
                && cached.leads_to_the_same(self.mesh, view, self.registry)
        });
        let cached = match cached {
            Some(cached) => {
                self.registry.use_again(&cached.uses);
                Arc::clone(cached)
            }
            None => Arc::new(self.compile_host(&key, routes, own, ports)),
        };
        let compiled = Arc::clone(&cached.host);
        self.made.insert(key, cached);
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
        let mut compiler = RuleCompiler {
            mesh: self.mesh,
            perspective: self.perspective,
            registry: self.registry,
            gateway: &frontend.gateway,
            view,
            uses: Vec::new(),
        };
        let mut rules: Vec<Rule> = Vec::new();
        for routes in routes {
            rules.extend(compiler.rules(routes));
        }
        if let Some(own) = &own {
            rules.push(compiler.default_rule(own, &ports));
        }
        rules.sort_by_key(is_catch_all);
        let uses = compiler.uses;
        let mut names: Vec<String> = routes.iter().flat_map(|it| destination_hosts(it)).collect();
        names.sort_unstable();
        names.dedup();
        let destinations = names.into_iter().map(|name| {
            let host = self.registry.host(self.mesh, view, &name);
            (name, host)
        });
        let destinations = destinations.collect();
        let compiled = VirtualHost {
            name: host.as_str().into(),
            ports: ports.clone(),
            rules: Rules::new(rules),
        };
        Cached {
            made_of: routes
                .iter()
                .map(|routes| Arc::clone(&routes.sources))
                .collect(),
            own,
            destinations,
            uses,
            ports,
            host: Arc::new(compiled),
        }
    }

    /// The listeners, sorted by address, and their virtual hosts for the next generation.
    pub(super) fn finish(self) -> (Vec<Arc<Listener>>, HostCache) {
        let listeners = self.listeners.into_values().map(Arc::new).collect();
        (listeners, self.made)
    }
}

// === impl Frontend ===

impl Frontend {
    fn view(&self) -> View {
        match &*self.gateway {
            MESH_GATEWAY => View::Mesh,
            _ => View::Gateway,
        }
    }
}

// === impl Cached ===

impl Cached {
    fn is_made_of(&self, routes: &[Arc<Routes>], own: Option<&Arc<Host>>) -> bool {
        self.made_of.len() == routes.len()
            && self
                .made_of
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

fn destination_hosts(routes: &Routes) -> Vec<String> {
    let entries = routes.spec.http.iter().flat_map(|rule| &rule.route);
    entries
        .filter_map(|entry| Some(entry.destination.as_ref()?.host.clone()))
        .collect()
}

/// Ports on which HTTP can be spoken, ascending.
fn http_ports(service: &Service) -> Box<[u16]> {
    let http = service
        .ports
        .iter()
        .filter(|port| port.protocol.is_http() || port.protocol == Spoken::Auto);
    let mut ports: Vec<u16> = http.map(|port| port.number).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into()
}

/// Only a listener with a port of its own and without capture takes connections by itself.
fn is_explicit(egress: &EgressListener) -> bool {
    egress.port.is_some() && egress.capture_mode == Some(CaptureMode::None)
}

fn unknown_host(sidecar: &Sidecar) -> UnknownHost {
    let policy = sidecar.outbound_traffic_policy.as_ref();
    match policy.map(|policy| policy.mode.unwrap_or(OutboundMode::RegistryOnly)) {
        Some(OutboundMode::RegistryOnly) => UnknownHost::BadGateway,
        Some(OutboundMode::AllowAny) | None => UnknownHost::NotFound,
    }
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

/// `127.0.0.1:PORT`, `[::1]:PORT`, `unix://PATH`; the unspecified addresses stand for the workload's
/// own, which on this side of it is the loopback. Unset means the same port of the loopback.
fn default_endpoint(written: Option<&str>, port: u16) -> Option<EndpointAddr> {
    let Some(written) = written.filter(|written| !written.is_empty()) else {
        return Some(EndpointAddr::Tcp(SocketAddr::new(
            Ipv4Addr::LOCALHOST.into(),
            port,
        )));
    };
    if let Some(path) = written.strip_prefix("unix://") {
        return Some(EndpointAddr::Unix(PathBuf::from(path)));
    }
    let mut addr: SocketAddr = match written.strip_prefix(':') {
        Some(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?),
        None => written.parse().ok()?,
    };
    if addr.ip().is_unspecified() {
        let loopback = if addr.is_ipv4() { "127.0.0.1" } else { "::1" };
        addr.set_ip(loopback.parse().ok()?);
    }
    Some(EndpointAddr::Tcp(addr))
}

fn redirecting_hosts(server: &Server) -> Vec<(String, Arc<VirtualHost>)> {
    let redirect = Action::Redirect(Redirect::to_https());
    let host = every_request(Route::new("https-redirect", redirect));
    let names = server
        .hosts
        .iter()
        .map(|host| host.rsplit('/').next().unwrap_or(host).to_owned());
    names.map(|name| (name, Arc::clone(&host))).collect()
}

/// A virtual host that does one thing with every request.
fn every_request(route: Route) -> Arc<VirtualHost> {
    let name = Arc::clone(&route.name);
    let rule = Rule {
        path: PathMatcher::Any,
        others: None,
        route: Arc::new(route),
    };
    Arc::new(VirtualHost {
        name,
        ports: Box::default(),
        rules: Rules::new(vec![rule]),
    })
}
