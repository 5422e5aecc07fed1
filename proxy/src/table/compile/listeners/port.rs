//! Listeners that stand for a port, whatever the address: HTTP is told apart by its hosts, TLS by the
//! names that it asks for, and anything else goes one way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use config::mesh::{Protocol as Spoken, Service};
use config::resource::sidecar::OutboundMode;

use super::hosts::NamedHost;
use super::pieces::Piece;
use super::{Plan, every_request, same};
use crate::table::compile::destinations::PASSTHROUGH;
use crate::table::edit::HeaderEdit;
use crate::table::host::{HostTable, VirtualHost};
use crate::table::opaque::{Carriage, OpaqueRoute, OpaqueRoutes, OpaqueRule};
use crate::table::route::{Action, Route};
use crate::table::split::{DestinationByPort, Split, Target};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};
use crate::upstream::destination::DestinationId;

/// Name of the route for hosts that nobody knows.
const ALLOW_ANY: &str = "allow_any";

/// What is offered at a port.
#[derive(Default)]
pub(super) struct AtPort<'m> {
    /// Hosts by HTTP.
    pub(super) hosts: Vec<&'m NamedHost<'m>>,
    /// Hosts by their names in TLS.
    pub(super) named: Vec<(&'m str, Arc<Piece>)>,
    /// Whoever else comes. The first that offers itself counts: nothing tells several apart.
    pub(super) others: Option<Arc<Piece>>,
    /// Whether some host's port does not say what is spoken.
    pub(super) undeclared: bool,
}

/// A listener that stands for a port, and what it was made of.
#[derive(Debug)]
pub(super) struct MadePort {
    hosts: Vec<(Arc<VirtualHost>, Option<Arc<Service>>)>,
    pieces: Vec<Arc<Piece>>,
    mode: OutboundMode,
    undeclared: bool,
    /// For any address.
    any: Arc<Listener>,
    /// For addresses of which HTTP is known to be spoken.
    http: Arc<Listener>,
}

/// What a listener does with what comes in.
pub(super) struct Within {
    pub(super) hosts: HostTable,
    pub(super) speaks: Speaks,
    pub(super) opaque: OpaqueRoutes,
}

// === impl AtPort ===

impl<'m> AtPort<'m> {
    /// Adds a port of a service that nothing but its number tells apart.
    pub(super) fn add(
        &mut self,
        host: &'m NamedHost<'m>,
        spoken: Spoken,
        piece: Option<&Arc<Piece>>,
    ) {
        match spoken {
            Spoken::Http | Spoken::Http2 | Spoken::Grpc | Spoken::GrpcWeb => self.hosts.push(host),
            Spoken::Auto => {
                self.hosts.push(host);
                self.undeclared = true;
            }
            Spoken::Https | Spoken::Tls => {
                let named = piece.map(|piece| (host.name.as_str(), Arc::clone(piece)));
                self.named.extend(named);
            }
            Spoken::Tcp | Spoken::Mongo | Spoken::Redis | Spoken::Mysql => {
                self.others = self.others.take().or_else(|| piece.cloned());
            }
        }
    }

    /// Whether some service has HTTP there, or may have.
    pub(super) fn speaks_http(&self) -> bool {
        self.hosts.iter().any(|host| host.service.is_some())
    }

    /// Where goes what is not HTTP.
    fn rules(&self) -> Vec<OpaqueRule> {
        let named = self.named.iter();
        let named = named.flat_map(|(host, piece)| piece.by_name(host));
        let others = self.others.iter().flat_map(|piece| piece.whole());
        named.chain(others).collect()
    }

    fn pieces(&self) -> impl Iterator<Item = &Arc<Piece>> {
        let named = self.named.iter().map(|(_, piece)| piece);
        named.chain(&self.others)
    }
}

// === impl MadePort ===

impl MadePort {
    fn is_made_of(&self, at: &AtPort<'_>, mode: OutboundMode) -> bool {
        let same_service =
            |before: &Option<Arc<Service>>, now: Option<&Arc<Service>>| match (before, now) {
                (Some(before), Some(now)) => {
                    Arc::ptr_eq(before, now) || same(&before.sources, &now.sources)
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
        self.mode == mode
            && self.undeclared == at.undeclared
            && self.hosts.len() == at.hosts.len()
            && self
                .hosts
                .iter()
                .zip(&at.hosts)
                .all(|((made, service), now)| {
                    Arc::ptr_eq(made, &now.made) && same_service(service, now.service)
                })
            && self.pieces.len() == at.pieces().count()
            && self
                .pieces
                .iter()
                .zip(at.pieces())
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

// === impl Plan ===

impl Plan<'_> {
    /// The captured listeners that stand for a port, from the generation before if they would be the
    /// same again: one for any address, one for those of services that are declared to speak HTTP.
    pub(super) fn captured_port(
        &mut self,
        port: u16,
        at: &AtPort<'_>,
        mode: OutboundMode,
    ) -> (Arc<Listener>, Arc<Listener>) {
        let before = self.before.ports.get(&port);
        let before = before.filter(|made| made.is_made_of(at, mode));
        let (any, http) = match before {
            Some(made) => {
                self.beyond_by(mode);
                (Arc::clone(&made.any), Arc::clone(&made.http))
            }
            None => {
                let any = Arc::new(self.outbound_port(port, at, mode));
                let http = speaking_http(&any);
                (any, http)
            }
        };
        let hosts = at.hosts.iter();
        let hosts = hosts.map(|it| (Arc::clone(&it.made), it.service.cloned()));
        let made = MadePort {
            hosts: hosts.collect(),
            pieces: at.pieces().cloned().collect(),
            mode,
            undeclared: at.undeclared,
            any: Arc::clone(&any),
            http: Arc::clone(&http),
        };
        self.made.ports.insert(port, made);
        (any, http)
    }

    /// A listener that stands for a port of captured connections.
    pub(super) fn outbound_port(
        &mut self,
        port: u16,
        at: &AtPort<'_>,
        mode: OutboundMode,
    ) -> Listener {
        let within = self.within(at, mode);
        outbound(format!("outbound port {port}"), port, within)
    }

    /// What captured connections meet at a port: what is meant for nobody goes where it was going, or
    /// nowhere.
    ///
    /// That a service speaks HTTP at the port says nothing of an address that is none of its own, as
    /// long as that may be reached: what it speaks shows.
    fn within(&mut self, at: &AtPort<'_>, mode: OutboundMode) -> Within {
        let beyond = self.beyond_by(mode);
        let mut within = self.offered(at);
        if mode == OutboundMode::AllowAny && !at.hosts.is_empty() {
            within.hosts.insert("*", &allow_any(beyond));
            within.speaks = Speaks::Unknown;
        }
        if at.others.is_none() {
            let mut rules = at.rules();
            rules.push(OpaqueRule::always(whole(beyond)));
            within.opaque = OpaqueRoutes::new(&rules);
        }
        within
    }

    /// The same where connections mean nobody else.
    pub(super) fn offered(&self, at: &AtPort<'_>) -> Within {
        let is_mixed = at.undeclared || !at.named.is_empty() || at.others.is_some();
        Within {
            hosts: self.host_table(&at.hosts),
            speaks: match (at.hosts.is_empty(), at.named.is_empty()) {
                (false, _) if is_mixed => Speaks::Unknown,
                (false, _) => Speaks::Http,
                (true, false) => Speaks::Tls,
                (true, true) => Speaks::Opaque,
            },
            opaque: OpaqueRoutes::new(&at.rules()),
        }
    }

    /// Where goes what is meant for nobody.
    pub(super) fn beyond_by(&mut self, mode: OutboundMode) -> DestinationId {
        match mode {
            OutboundMode::AllowAny => self.registry.beyond(),
            OutboundMode::RegistryOnly => self.registry.black_hole(),
        }
    }
}

/// A listener for connections from the workload to a port, whatever the address.
pub(super) fn outbound(name: String, port: u16, within: Within) -> Listener {
    let Within {
        hosts,
        speaks,
        opaque,
    } = within;
    Listener {
        bind: Bind::Tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        name,
        direction: Direction::Outbound,
        port_rule: PortRule::Listener(port),
        unknown_host: UnknownHost::BadGateway,
        hosts,
        transport: Transport::Plain,
        speaks,
        opaque,
        captured: None,
        admission: None,
    }
}

/// The same listener where it is known that HTTP is spoken: nothing is found out.
fn speaking_http(any: &Arc<Listener>) -> Arc<Listener> {
    if any.speaks == Speaks::Http {
        return Arc::clone(any);
    }
    Arc::new(Listener {
        bind: any.bind.clone(),
        name: format!("{} (HTTP)", any.name),
        hosts: any.hosts.clone(),
        transport: Transport::Plain,
        speaks: Speaks::Http,
        opaque: OpaqueRoutes::default(),
        captured: None,
        admission: None,
        ..**any
    })
}

/// A host that sends everything on to where it was going.
pub(super) fn allow_any(beyond: DestinationId) -> Arc<VirtualHost> {
    every_request(Route::new(ALLOW_ANY, Action::Forward(all_to(beyond))))
}

/// Everything to one destination.
pub(super) fn all_to(destination: DestinationId) -> Split {
    let target = Target {
        host: PASSTHROUGH.into(),
        subset: None,
        port: None,
        weight: 1,
        destination: DestinationByPort::Fixed(destination),
        request_headers: HeaderEdit::default(),
        response_headers: HeaderEdit::default(),
    };
    Split::new(vec![target], None)
}

/// Connections as a whole to one destination.
pub(super) fn whole(destination: DestinationId) -> Arc<OpaqueRoute> {
    Arc::new(OpaqueRoute {
        origin: None,
        position: 0,
        port: 0,
        split: all_to(destination),
        carriage: Carriage::ByPolicy,
    })
}
