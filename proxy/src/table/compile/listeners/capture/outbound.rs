//! What captured connections from the workload meet.
//!
//! Whatever is not HTTP is told apart by its address, as only that says which service is meant: those
//! of services, and those of their endpoints where callers choose these themselves. HTTP says its host,
//! TLS may say a name, so that a port is enough for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::ip_block::IpBlock;
use config::mesh::{Address, Protocol as Spoken, Routes, Service};
use config::resource::sidecar::{EgressListener, OutboundMode};
use rustc_hash::FxHashMap;

use super::super::hosts::NamedHost;
use super::super::pieces::{Governing, Offer, Piece};
use super::super::port::{AtPort, Within, allow_any, outbound, whole};
use super::super::{Frontend, Plan};
use crate::table::capture::{Captured, Network};
use crate::table::host::{HostTable, VirtualHost};
use crate::table::opaque::{OpaqueRoutes, OpaqueRule};
use crate::table::{Listener, PortRule, Speaks};

/// What a `Sidecar` lets the workload reach by one of its egress listeners; all without a `Sidecar`.
struct Scope<'m> {
    frontend: Frontend,
    services: Vec<&'m Arc<Service>>,
    routes: Vec<Arc<Routes>>,
    /// The port that the listener is for, and what is spoken there if it says so; all ports if none.
    only: Option<(u16, Option<Spoken>)>,
    /// The address that it stands for, whatever those of the services are.
    bind: Option<IpAddr>,
}

/// Listeners in the making, by what connections were going to.
#[derive(Default)]
struct Sorted<'h> {
    exact: FxHashMap<SocketAddr, Arc<Listener>>,
    networks: BTreeMap<u16, Vec<Network>>,
    ports: BTreeMap<u16, AtPort<'h>>,
    /// Addresses of services that are declared to speak HTTP.
    declared: Vec<SocketAddr>,
    /// Addresses that egress listeners stand for.
    bound: BTreeMap<SocketAddr, AtPort<'h>>,
}

/// A port of a service in a scope.
struct ServicePort<'p, 'h> {
    scope: &'p Scope<'p>,
    governing: &'p Governing<'p>,
    host: &'h NamedHost<'h>,
    service: &'h Arc<Service>,
    port: u16,
    spoken: Spoken,
}

// === impl Plan ===

impl<'p> Plan<'p> {
    pub(super) fn captured_outbound(&mut self) -> Captured {
        let scopes = self.scopes();
        let mut hosts: Vec<Vec<NamedHost<'p>>> = Vec::with_capacity(scopes.len());
        for scope in &scopes {
            let Scope {
                frontend,
                services,
                routes,
                ..
            } = scope;
            hosts.push(self.named_hosts(frontend, services, routes));
        }
        // What a listener of its own is for is not for the one that takes all others.
        let claimed: Vec<u16> = scopes
            .iter()
            .filter(|it| it.bind.is_none())
            .filter_map(|it| it.only.map(|(port, _)| port))
            .collect();
        let mut sorted = Sorted::default();
        for (scope, hosts) in scopes.iter().zip(&hosts) {
            let governing = Governing::new(&scope.routes);
            for host in hosts {
                for port in scope.ports_of(host, &governing) {
                    let is_claimed = scope.only.is_none() && claimed.contains(&port.port);
                    self.sort(&port, is_claimed, &mut sorted);
                }
            }
            sorted.add_without_service(scope, hosts, &claimed);
        }
        let mode = self.mesh.outbound_mode(&self.perspective.viewer);
        self.captured(sorted, mode)
    }

    /// What the workload may reach, by what.
    fn scopes(&self) -> Vec<Scope<'p>> {
        let (mesh, viewer) = (self.mesh, &self.perspective.viewer);
        let Some(listeners) = mesh.egress_listeners(viewer) else {
            return vec![Scope {
                frontend: Frontend::mesh(0),
                services: mesh.visible_services(viewer),
                routes: mesh.mesh_routes(viewer),
                only: None,
                bind: None,
            }];
        };
        let captured = listeners.iter().enumerate();
        let captured = captured.filter(|(_, listener)| !listener.is_explicit());
        let scope = |(position, listener): (usize, &EgressListener)| {
            let only = listener.port.as_ref().map(|port| {
                let number = u16::try_from(port.number).unwrap_or(0);
                (number, Spoken::parse(&port.protocol))
            });
            Scope {
                frontend: Frontend::mesh(position),
                services: mesh.egress_services(viewer, listener),
                routes: mesh.egress_routes(viewer, listener),
                only,
                bind: listener.bind.as_deref().and_then(|it| it.parse().ok()),
            }
        };
        captured.map(scope).collect()
    }

    /// Puts a port of a service under everything by which it can be meant.
    fn sort<'h>(&mut self, port: &ServicePort<'_, 'h>, is_claimed: bool, sorted: &mut Sorted<'h>) {
        if let Some(bind) = port.scope.bind {
            let piece = (!port.spoken.is_http()).then(|| self.piece_of(port, false));
            let at = sorted.bound.entry(SocketAddr::new(bind, port.port));
            at.or_default().add(port.host, port.spoken, piece.as_ref());
            return;
        }
        let addresses = self.addresses(port.service);
        let has_address = !addresses.is_empty();
        let is_told_apart = port.service.headless || !port.service.addresses.is_empty();
        if port.spoken.is_http() {
            let alone = addresses.iter().filter_map(IpBlock::alone);
            let declared = alone.map(|ip| SocketAddr::new(ip, port.port));
            sorted.declared.extend(declared);
        }
        let piece = (!port.spoken.is_http()).then(|| self.piece_of(port, has_address));
        if let Some(listener) = piece.as_ref().and_then(|piece| piece.listener.as_ref()) {
            sorted.add_addresses(&addresses, port.port, listener);
        }
        let by_port = !is_told_apart || port.spoken.is_http() || port.spoken == Spoken::Auto;
        if by_port && !is_claimed {
            let at = sorted.ports.entry(port.port).or_default();
            at.add(port.host, port.spoken, piece.as_ref());
        }
    }

    /// Under which addresses callers mean a service: its own, and those of its endpoints where they
    /// choose among these themselves.
    fn addresses(&self, service: &Service) -> Vec<IpBlock> {
        let own: Vec<IpBlock> = self.mesh.addresses(service).collect();
        if !service.headless || !own.is_empty() {
            return own;
        }
        let endpoints = service.endpoints.iter();
        let ips = endpoints.filter_map(|endpoint| match endpoint.address {
            Address::Ip(ip) => Some(IpBlock::from(ip)),
            Address::Name(_) | Address::Unix(_) => None,
        });
        ips.collect()
    }

    fn piece_of(&mut self, port: &ServicePort<'_, '_>, has_address: bool) -> Arc<Piece> {
        let &ServicePort {
            scope,
            governing,
            host,
            service,
            port: number,
            spoken,
        } = port;
        let http = (spoken == Spoken::Auto).then_some(&host.made);
        let make = |rules: &[OpaqueRule]| addressed(port, http, rules);
        let offer = Offer {
            host: &host.name,
            service,
            port: number,
            spoken,
            routes: &governing.of(&host.name),
        };
        self.piece(&scope.frontend, &offer, http, has_address.then_some(make))
    }

    fn captured(&mut self, sorted: Sorted<'_>, mode: OutboundMode) -> Captured {
        let Sorted {
            exact,
            networks,
            ports,
            declared,
            bound,
        } = sorted;
        let mut captured = Captured::new(Arc::new(self.beyond(mode)));
        captured.exact = exact;
        for (addr, at) in &bound {
            let listener = self.outbound_port(addr.port(), at, mode);
            captured.exact.insert(*addr, Arc::new(listener));
        }
        let mut speaking_http: FxHashMap<u16, Arc<Listener>> = FxHashMap::default();
        for (port, at) in &ports {
            let (any, http) = self.captured_port(*port, at, mode);
            captured.ports.insert(*port, any);
            speaking_http.insert(*port, http);
        }
        for addr in declared {
            if let Some(listener) = speaking_http.get(&addr.port()) {
                let free = captured.exact.entry(addr);
                free.or_insert_with(|| Arc::clone(listener));
            }
        }
        for (port, mut blocks) in networks {
            blocks.sort_by_key(|it| std::cmp::Reverse(it.block.bits()));
            captured.networks.insert(port, blocks.into());
        }
        captured
    }

    /// Everything from the workload that nobody told us of.
    fn beyond(&mut self, mode: OutboundMode) -> Listener {
        let id = self.beyond_by(mode);
        let mut within = Within {
            hosts: HostTable::default(),
            speaks: Speaks::Opaque,
            opaque: OpaqueRoutes::always(whole(id)),
        };
        let name = match mode {
            OutboundMode::AllowAny => {
                within.hosts.insert("*", &allow_any(id));
                within.speaks = Speaks::Unknown;
                "outbound passthrough"
            }
            OutboundMode::RegistryOnly => "outbound black hole",
        };
        Listener {
            port_rule: PortRule::Authority,
            ..outbound(name.to_owned(), 0, within)
        }
    }
}

// === impl Scope ===

impl Scope<'_> {
    fn has(&self, port: u16) -> bool {
        self.only.is_none_or(|(only, _)| only == port)
    }

    fn ports_of<'p, 'h>(
        &'p self,
        host: &'h NamedHost<'h>,
        governing: &'p Governing<'p>,
    ) -> impl Iterator<Item = ServicePort<'p, 'h>> {
        let services = host.service.into_iter();
        let ports = services.flat_map(|service| service.ports.iter().map(move |it| (service, it)));
        let ports = ports.filter(|(_, port)| self.has(port.number));
        ports.map(move |(service, port)| ServicePort {
            scope: self,
            governing,
            host,
            service,
            port: port.number,
            spoken: self
                .only
                .and_then(|(_, spoken)| spoken)
                .unwrap_or(port.protocol),
        })
    }
}

// === impl Sorted ===

impl<'h> Sorted<'h> {
    fn add_addresses(&mut self, addresses: &[IpBlock], port: u16, listener: &Arc<Listener>) {
        for block in addresses {
            match block.alone() {
                Some(ip) => {
                    let free = self.exact.entry(SocketAddr::new(ip, port));
                    free.or_insert_with(|| Arc::clone(listener));
                }
                None => {
                    let blocks = self.networks.entry(port).or_default();
                    blocks.push(Network {
                        block: *block,
                        listener: Arc::clone(listener),
                    });
                }
            }
        }
    }

    /// Hosts that rules are for and no service has are there at every port with HTTP.
    fn add_without_service(
        &mut self,
        scope: &Scope<'_>,
        hosts: &'h [NamedHost<'h>],
        claimed: &[u16],
    ) {
        let is_free = |port: u16| scope.only.is_some() || !claimed.contains(&port);
        let ports = match scope.bind {
            Some(_) => self
                .bound
                .iter_mut()
                .map(|(addr, at)| (addr.port(), at))
                .collect(),
            None => self
                .ports
                .iter_mut()
                .map(|(port, at)| (*port, at))
                .collect::<Vec<_>>(),
        };
        for (port, at) in ports {
            if scope.has(port) && is_free(port) && !at.hosts.is_empty() {
                at.hosts
                    .extend(hosts.iter().filter(|it| it.service.is_none()));
            }
        }
    }
}

/// The listener for the addresses of a service whose port is not declared to speak HTTP.
fn addressed(
    port: &ServicePort<'_, '_>,
    http: Option<&Arc<VirtualHost>>,
    rules: &[OpaqueRule],
) -> Listener {
    let mut hosts = HostTable::default();
    if let Some(http) = http {
        // Whatever the host is called, its address says who is meant.
        hosts.insert("*", http);
    }
    let opaque = OpaqueRoutes::new(rules);
    let speaks = match (http, opaque.ask_for_names()) {
        (Some(_), _) => Speaks::Unknown,
        (None, true) => Speaks::Tls,
        // No word could change where it goes.
        (None, false) => Speaks::Opaque,
    };
    let within = Within {
        hosts,
        speaks,
        opaque,
    };
    let name = format!("outbound {}:{}", port.host.name, port.port);
    outbound(name, port.port, within)
}
