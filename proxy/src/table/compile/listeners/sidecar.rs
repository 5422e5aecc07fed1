//! The listeners of a `Sidecar`, and the default one of a proxy that no resource gives any.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use config::Spec;
use config::mesh::{Accepts, MESH_GATEWAY, Protocol as Spoken, Routes, Service, covers};
use config::resource::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundMode, Sidecar,
};
use rustc_hash::FxHashMap;

use super::{Frontend, Ingredients, Plan, bind_addr, every_request};
use crate::table::compile::destinations::Workload;
use crate::table::host::{HostTable, VirtualHost};
use crate::table::opaque::OpaqueRoutes;
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::split::{DestinationByPort, Split, Target};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};
use crate::upstream::destination::Protocol;
use crate::upstream::endpoint::EndpointAddr;

/// The outbound listener of a proxy that no resource gives a listener.
const DEFAULT_OUTBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_001);

// === impl Plan ===

impl<'p> Plan<'p> {
    /// Listeners of the `Sidecar`, or the one that a proxy without any has.
    pub(in crate::table::compile) fn sidecar(&mut self) {
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
        if self.perspective.captures {
            self.capture();
        } else if self.listeners.is_empty() {
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
                    transport: Transport::Plain,
                    speaks: Speaks::Http,
                    opaque: OpaqueRoutes::default(),
                    captured: None,
                    admission: None,
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
            addr: Some(addr),
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
        let transport = self.workload_transport(number);
        let bind = bind_addr(ingress.bind.as_deref(), self.perspective.bind, number);
        self.listeners.entry(bind.clone()).or_insert(Listener {
            bind,
            name: format!("{name} ingress"),
            direction: Direction::Inbound,
            port_rule: PortRule::Listener(number),
            unknown_host: UnknownHost::NotFound,
            hosts,
            transport,
            speaks: Speaks::Http,
            opaque: OpaqueRoutes::default(),
            captured: None,
            admission: self.admission.clone(),
        });
    }

    /// What a port of the workload takes. Never less than the policy asks for: without an identity
    /// STRICT is shut. PERMISSIVE is then plain text, which it allows.
    pub(super) fn workload_transport(&self, port: u16) -> Transport {
        let identity = self.certificates.identity().cloned();
        let policy = self.mesh.mutual_tls(&self.perspective.viewer);
        match (policy.at(port), identity) {
            (Accepts::Plain, _) | (Accepts::Both, None) => Transport::Plain,
            (Accepts::Both, Some(identity)) => Transport::Permissive(identity),
            (Accepts::MutualTls, identity) => Transport::Strict(identity),
        }
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
            transport: Transport::Plain,
            speaks: Speaks::Http,
            opaque: OpaqueRoutes::default(),
            captured: None,
            admission: None,
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
