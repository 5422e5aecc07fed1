//! The listeners of a `Sidecar`, and the default one of a proxy that no resource gives any.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use config::Spec;
use config::mesh::{Accepts, Protocol as Spoken, Routes, Service};
use config::resource::destination_rule::ConnectionPool;
use config::resource::sidecar::{EgressListener, IngressListener, OutboundMode, Sidecar};

use super::hosts::NamedHost;
use super::pieces::{Governing, Offer};
use super::port::{AtPort, Within, all_to, outbound, whole};
use super::{Frontend, Plan, bind_addr, every_request};
use crate::table::compile::destinations::Workload;
use crate::table::host::HostTable;
use crate::table::opaque::OpaqueRoutes;
use crate::table::retry::RetryPolicy;
use crate::table::route::{Action, Route};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};
use crate::upstream::endpoint::EndpointAddr;

/// The outbound listener of a proxy that no resource gives a listener.
const DEFAULT_OUTBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_001);

/// A port of the workload that takes connections.
pub(super) struct Inbound {
    /// Name of the listener, for people.
    pub(super) name: String,
    /// 0 for all others.
    pub(super) port: u16,
    /// Whether somebody told us what there is.
    pub(super) is_known: bool,
    /// What is spoken there, as far as that is said.
    pub(super) spoken: Option<Spoken>,
    /// Where the application listens; none for the address that the caller asked for.
    pub(super) addr: Option<EndpointAddr>,
    /// Host and namespace of the service that is served there, if one is known.
    pub(super) service: Option<(String, String)>,
    /// Limits of connections to it.
    pub(super) pool: ConnectionPool,
}

// === impl Plan ===

impl<'p> Plan<'p> {
    /// Listeners of the `Sidecar`, or the one that a proxy without any has.
    pub(in crate::table::compile) fn sidecar(&mut self) {
        let resource = self.mesh.sidecar(&self.perspective.viewer);
        if let Some(resource) = resource
            && let Spec::Sidecar(sidecar) = &resource.spec
        {
            let name = format!("sidecar {}/{}", resource.meta.namespace, resource.meta.name);
            let captures = self.perspective.captures;
            let bound = sidecar.ingress.iter();
            for ingress in bound.filter(|it| !captures || it.is_explicit()) {
                self.ingress(&name, sidecar, ingress);
            }
            for (position, egress) in sidecar.egress.iter().enumerate() {
                if egress.is_explicit() {
                    self.egress(&name, position, egress);
                }
            }
        }
        if self.perspective.captures {
            self.capture();
        } else if self.listeners.is_empty() {
            let services = self.mesh.visible_services(&self.perspective.viewer);
            let routes = self.mesh.mesh_routes(&self.perspective.viewer);
            let bind = Bind::Tcp(DEFAULT_OUTBOUND);
            let hosts = self.named_hosts(&Frontend::mesh(0), &services, &routes);
            let hosts = self.host_table(&hosts.iter().collect::<Vec<_>>());
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

    fn ingress(&mut self, name: &str, sidecar: &Sidecar, ingress: &IngressListener) {
        let pool = sidecar.inbound_connection_pool.as_ref();
        let Some(mut inbound) = self.ingress_port(ingress, pool) else {
            return;
        };
        inbound.name = format!("{name} ingress");
        // Nothing is captured for it: the application is where it says, or at the same port.
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), inbound.port);
        inbound.addr.get_or_insert(EndpointAddr::Tcp(loopback));
        let bind = bind_addr(ingress.bind.as_deref(), self.perspective.bind, inbound.port);
        let listener = Listener {
            bind: bind.clone(),
            ..self.inbound(inbound)
        };
        self.listeners.entry(bind).or_insert(listener);
    }

    /// What an entry of `ingress` asks for; none if it names no port. Without `defaultEndpoint`, or
    /// with the workload's own address as such, connections go where their callers asked.
    pub(super) fn ingress_port(
        &self,
        ingress: &IngressListener,
        pool: Option<&ConnectionPool>,
    ) -> Option<Inbound> {
        let port = ingress.port.as_ref()?;
        let number = u16::try_from(port.number).ok()?;
        let service = self.own_service(number);
        let pool = ingress.connection_pool.as_ref().or(pool);
        Some(Inbound {
            name: format!("inbound port {number}"),
            port: number,
            is_known: true,
            spoken: Spoken::parse(&port.protocol),
            addr: self.default_endpoint(ingress, number)?,
            service: service.map(|it| (it.host.clone(), it.namespace.clone())),
            pool: pool.cloned().unwrap_or_default(),
        })
    }

    /// `127.0.0.1:PORT`, `[::1]:PORT`, `unix://PATH`; the unspecified addresses stand for the workload's
    /// own, which on this side of it is the loopback where nothing is captured.
    fn default_endpoint(
        &self,
        ingress: &IngressListener,
        number: u16,
    ) -> Option<Option<EndpointAddr>> {
        let written = ingress.default_endpoint.as_deref();
        let Some(written) = written.filter(|written| !written.is_empty()) else {
            return Some(None);
        };
        if let Some(path) = written.strip_prefix("unix://") {
            return Some(Some(EndpointAddr::Unix(PathBuf::from(path))));
        }
        let mut addr: SocketAddr = match written.strip_prefix(':') {
            Some(port) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port.parse().ok()?),
            None => written.parse().ok()?,
        };
        let is_captured = self.perspective.captures && !ingress.is_explicit();
        if addr.ip().is_unspecified() {
            if is_captured && addr.port() == number {
                return Some(None);
            }
            addr.set_ip(match addr.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Some(Some(EndpointAddr::Tcp(addr)))
    }

    /// The listener of a port of the workload.
    pub(super) fn inbound(&mut self, inbound: Inbound) -> Listener {
        let Inbound {
            name,
            port,
            is_known,
            spoken,
            addr,
            service,
            pool,
        } = inbound;
        let workload = Workload {
            from_own: addr.is_none(),
            addr,
            spoken,
            service,
            pool,
        };
        let own_port = if is_known { port } else { 0 };
        let id = self.registry.workload_destination(own_port, workload);
        let mut route = Route::new("inbound", Action::Forward(all_to(id)));
        route.retries = RetryPolicy::inbound();
        let mut hosts = HostTable::default();
        let speaks = match spoken {
            Some(spoken) if spoken.is_http() => Speaks::Http,
            Some(Spoken::Auto) | None => Speaks::Unknown,
            Some(_) => Speaks::Opaque,
        };
        let opaque = match speaks {
            Speaks::Http => OpaqueRoutes::default(),
            Speaks::Unknown | Speaks::Opaque | Speaks::Tls => OpaqueRoutes::always(whole(id)),
        };
        if speaks != Speaks::Opaque {
            hosts.insert("*", &every_request(route));
        }
        Listener {
            bind: Bind::Tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            name,
            direction: Direction::Inbound,
            port_rule: match port {
                0 => PortRule::Authority,
                port => PortRule::Listener(port),
            },
            unknown_host: UnknownHost::NotFound,
            hosts,
            transport: self.workload_transport(port),
            speaks,
            opaque,
            captured: None,
            admission: self.admission.clone(),
        }
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
    fn egress(&mut self, name: &str, position: usize, egress: &EgressListener) {
        let Some(port) = &egress.port else { return };
        let Ok(number) = u16::try_from(port.number) else {
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
        let frontend = Frontend::mesh(position);
        let hosts = self.named_hosts(&frontend, &services, &routes);
        let spoken = Spoken::parse(&port.protocol);
        let within = match port_rule {
            PortRule::Authority => self.proxied(&hosts),
            PortRule::Listener(number) => {
                self.at_explicit_port(&frontend, number, spoken, &hosts, &routes)
            }
        };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = bind_addr(egress.bind.as_deref(), local, number);
        let unknown_host = match self.mesh.outbound_mode(viewer) {
            OutboundMode::RegistryOnly => UnknownHost::BadGateway,
            OutboundMode::AllowAny => UnknownHost::NotFound,
        };
        let listener = Listener {
            bind: bind.clone(),
            port_rule,
            unknown_host,
            ..outbound(format!("{name} egress"), number, within)
        };
        self.listeners.entry(bind).or_insert(listener);
    }

    /// An explicit proxy for HTTP, whatever the port.
    fn proxied(&self, hosts: &[NamedHost<'_>]) -> Within {
        Within {
            hosts: self.host_table(&hosts.iter().collect::<Vec<_>>()),
            speaks: Speaks::Http,
            opaque: OpaqueRoutes::default(),
        }
    }

    /// What services offer at a port that the application connects to by itself: only what it says
    /// tells which of them it means.
    fn at_explicit_port(
        &mut self,
        frontend: &Frontend,
        number: u16,
        spoken: Option<Spoken>,
        hosts: &[NamedHost<'_>],
        routes: &[Arc<Routes>],
    ) -> Within {
        let governing = Governing::new(routes);
        let mut at = AtPort::default();
        let mut undeclared = None;
        for host in hosts {
            let Some(service) = host.service else {
                at.hosts.push(host);
                continue;
            };
            let Some(port) = service.port(number) else {
                continue;
            };
            let spoken = spoken.unwrap_or(port.protocol);
            let offer = Offer {
                host: &host.name,
                service,
                port: number,
                spoken,
                routes: &governing.of(&host.name),
            };
            let piece = (!spoken.is_http()).then(|| self.piece_without_address(frontend, &offer));
            at.add(host, spoken, piece.as_ref());
            if spoken == Spoken::Auto {
                undeclared = undeclared.or(piece);
            }
        }
        // What turns out not to be HTTP names nobody: it can only mean the first that may be meant.
        at.others = at.others.take().or(undeclared);
        if !at.speaks_http() {
            at.hosts.clear();
        }
        self.offered(&at)
    }
}
