//! The compiled form of the mesh for this proxy: immutable, replaced as a whole, shared by reference
//! count where nothing changed.
//!
//! A request meets it from top to bottom: listener, host, rule, route, target.

pub mod capture;
pub mod compile;
pub mod cors;
pub mod edit;
pub mod elsewhere;
pub mod fault;
pub mod host;
pub mod matcher;
pub mod mirror;
pub mod opaque;
pub mod rate_limit;
pub mod redirect;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod rules;
pub mod share;
pub mod split;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use config::wire::Demand;
use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::inbound::Admission;
use crate::inbound::authz::Authorization;
use crate::request::Downstream;
use crate::request::path::Normalization;
use crate::table::capture::Captured;
use crate::table::host::{By, HostTable, VirtualHost};
use crate::table::opaque::OpaqueRoutes;
use crate::table::rate_limit::RateLimits;
use crate::tls::Security;
use crate::tls::gateway::{TlsServer, TlsServers};
use crate::tls::identity::WorkloadIdentity;

/// Every listener of this proxy with its routes.
#[derive(Debug, Default)]
pub struct Table {
    /// Sorted by address; addresses are unique.
    pub listeners: Vec<Arc<Listener>>,
    /// How many requests may pass; none if nothing limits them.
    pub limits: Option<RateLimits>,
    /// How far paths are brought to normal form at least; none leaves it to the proxy's flag.
    pub normalization: Option<Normalization>,
}

/// One address that takes traffic, and the hosts it serves.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub bind: Bind,
    /// Name for people: the resource that asked for it.
    pub name: String,
    /// Which way its traffic goes.
    pub direction: Direction,
    /// How the port that a request addresses is found.
    pub port_rule: PortRule,
    /// What a request for a host that is not served gets.
    pub unknown_host: UnknownHost,
    /// Hosts and their routes in plain text.
    pub hosts: HostTable,
    /// What is spoken below HTTP.
    pub transport: Transport,
    /// What is spoken within, as far as that is said.
    pub speaks: Speaks,
    /// Where connections go that are not HTTP.
    pub opaque: OpaqueRoutes,
    /// What captured connections meet instead, by where they were going; present where they are taken.
    pub captured: Option<Arc<Captured>>,
    /// What requests must satisfy before they are routed; none where all may in.
    pub admission: Option<Arc<Admission>>,
}

/// What a listener's connections speak below HTTP.
#[derive(Debug, Default)]
pub enum Transport {
    /// Plain text.
    #[default]
    Plain,
    /// TLS, the server chosen by the name that is asked for; every server has its own hosts.
    Servers(TlsServers),
    /// Mutual TLS between workloads, or plain text: whatever the client begins with.
    Permissive(Arc<WorkloadIdentity>),
    /// Mutual TLS between workloads. Without an identity of its own the workload cannot shake hands,
    /// and takes no connection.
    Strict(Option<Arc<WorkloadIdentity>>),
}

/// What a listener's connections speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP.
    #[default]
    Http,
    /// TLS that is not ours to end: the name that it asks for says where it goes.
    Tls,
    /// Anything, which is not looked at.
    Opaque,
    /// Nobody said what: the first bytes tell.
    Unknown,
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Unix domain socket.
    Unix(PathBuf),
}

/// Which way a listener's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the workload to others.
    Outbound,
    /// From others to the workload.
    Inbound,
    /// From outside into the mesh.
    Gateway,
}

/// How the port that a request addresses is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRule {
    /// The listener stands for this port.
    Listener(u16),
    /// The port in the authority; without one, 80 if the service has it, else its only port.
    Authority,
}

/// Why there are no hosts for a request, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHosts {
    /// The connection is in TLS and the listener is not, or the other way round, or nobody answers to
    /// the name that was asked for in TLS.
    Tls,
    /// The host is another server's than the connection.
    Misdirected,
}

/// What a request for a host that is not served gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownHost {
    /// 404 with flag `NR`.
    NotFound,
    /// 502 with flag `NR`: the outbound policy refuses unknown hosts.
    BadGateway,
}

// === impl Table ===

impl Table {
    /// How far paths are brought to normal form by a proxy with this flag: what is stronger, so that
    /// neither of both who count on a form finds it missing.
    pub(crate) fn normalization(&self, flag: Normalization) -> Normalization {
        self.normalization.map_or(flag, |wanted| wanted.max(flag))
    }

    /// The policies of authorization of its listeners. Most listeners have the same, which are told
    /// once.
    pub(crate) fn authorizations(&self) -> Vec<&Arc<Authorization>> {
        let admissions = self.everywhere().filter_map(|it| it.admission.as_ref());
        let mut all: Vec<&Arc<Authorization>> = Vec::new();
        for one in admissions.filter_map(|it| it.authorization.as_ref()) {
            if !all.iter().any(|known| Arc::ptr_eq(known, one)) {
                all.push(one);
            }
        }
        all
    }

    /// Every listener, also those that captured connections meet.
    pub(crate) fn everywhere(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().flat_map(|listener| {
            let captured = listener.captured.iter();
            [listener]
                .into_iter()
                .chain(captured.flat_map(|it| it.iter()))
        })
    }

    /// Whether a request was for what was demanded, by that name, since [`Self::forget_uses`].
    pub(crate) fn is_used(&self, demand: &Demand) -> bool {
        let mut outbound = self.outbound();
        match demand {
            Demand::Host(name) => outbound.any(|listener| {
                let met = listener.hosts.meet(name);
                met.is_some_and(|(host, by)| by == By::Name && host.used.is_noted())
            }),
            Demand::Address(addr) => {
                let captured = outbound.filter_map(|it| it.captured.as_ref());
                let mut exact = captured.filter_map(|it| it.exact.get(addr));
                exact.any(|it| it.hosts.iter().any(|(_, host)| host.used.is_noted()))
            }
        }
    }

    /// Looks anew from now on at what is used.
    pub(crate) fn forget_uses(&self) {
        for listener in self.outbound() {
            listener
                .hosts
                .iter()
                .for_each(|(_, host)| host.used.forget());
        }
    }

    fn outbound(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.everywhere()
            .filter(|it| it.direction == Direction::Outbound)
    }

    /// The listener that a connection meets: for a captured one that which stands for the address
    /// that it was going to.
    pub(crate) fn listener_of(&self, downstream: &Downstream) -> Option<&Arc<Listener>> {
        let listener = self.listener(&downstream.bind)?;
        match (&listener.captured, downstream.original) {
            (Some(captured), Some(original)) => Some(captured.find(original)),
            (Some(_) | None, _) => Some(listener),
        }
    }

    /// The listener at `bind`.
    pub fn listener(&self, bind: &Bind) -> Option<&Arc<Listener>> {
        let index = self
            .listeners
            .binary_search_by(|listener| listener.bind.cmp(bind))
            .ok()?;
        Some(&self.listeners[index])
    }
}

// === impl Listener ===

impl Listener {
    /// The hosts for a request for `host` on a connection that came in plain text (`None`) or asked
    /// for a name in TLS.
    ///
    /// # Errors
    ///
    /// The connection came before the listener changed from one to the other, or the host is served
    /// by another server than the one that let the connection in.
    pub(crate) fn hosts_for(
        &self,
        server_name: Option<&str>,
        host: &str,
    ) -> Result<&HostTable, NoHosts> {
        match (&self.transport, server_name) {
            (Transport::Plain, None) | (Transport::Permissive(_), _) => Ok(&self.hosts),
            // In front of a workload the name means nothing, and who came in mutual TLS may go on when
            // plain text is enough.
            (Transport::Strict(_), Some(_)) => Ok(&self.hosts),
            (Transport::Plain, Some(_)) if self.direction == Direction::Inbound => Ok(&self.hosts),
            (Transport::Strict(_), None) => Err(NoHosts::Tls),
            (Transport::Servers(servers), Some(name)) => {
                let server = servers.find(name).ok_or(NoHosts::Tls)?;
                let own = servers.find(host);
                if own.is_some_and(|own| !Arc::ptr_eq(own, server)) {
                    return Err(NoHosts::Misdirected);
                }
                server.hosts().ok_or(NoHosts::Tls)
            }
            (Transport::Servers(_), None) | (Transport::Plain, Some(_)) => Err(NoHosts::Tls),
        }
    }

    /// Whether a connection that was let in may still be used by what the listener demands now.
    pub(crate) fn admits(&self, security: Option<&Security>) -> bool {
        match (&self.transport, security) {
            (Transport::Servers(servers), Some(security)) => {
                let server = servers.find(&security.server_name);
                server.is_none_or(|server| server.admits(security))
            }
            // A gateway believes clients for other authorities than the workload does.
            (
                Transport::Plain | Transport::Permissive(_) | Transport::Strict(_),
                Some(security),
            ) => security.met.is_none(),
            // Who came before the listener changed finds no hosts.
            (Transport::Servers(_), None)
            | (Transport::Plain | Transport::Permissive(_) | Transport::Strict(_), None) => true,
        }
    }

    /// Whether a connection must be in mutual TLS and is not: what it demands may have changed since
    /// the connection came. What a client proved to a gateway is no proof here: a gateway may believe
    /// authorities that are nobody to the mesh.
    pub(crate) fn demands_more_than(&self, security: Option<&Security>) -> bool {
        let is_proved = || security.is_some_and(|it| it.principal.is_some() && it.met.is_none());
        matches!(self.transport, Transport::Strict(_)) && !is_proved()
    }

    /// Whether rules or policies may look at the address that a connection was reached at: also policies
    /// that come while the connection is open.
    pub(crate) fn looks_at_local_addr(&self) -> bool {
        self.direction != Direction::Outbound || self.opaque.look_at_destinations()
    }

    /// Every set of rules for connections that are not HTTP: its own, and those of its servers.
    pub(crate) fn all_opaque(&self) -> impl Iterator<Item = &OpaqueRoutes> {
        let servers = match &self.transport {
            Transport::Plain | Transport::Permissive(_) | Transport::Strict(_) => None,
            Transport::Servers(servers) => Some(servers),
        };
        let servers = servers.into_iter().flat_map(HostTable::<TlsServer>::iter);
        // One server may have many names.
        let mut seen = FxHashSet::default();
        let once = servers.filter(move |(_, server)| seen.insert(Arc::as_ptr(server)));
        let of_servers = once.filter_map(|(_, server)| server.opaque());
        std::iter::once(&self.opaque).chain(of_servers)
    }

    /// All hosts with their names as written, in no order.
    pub(crate) fn all_hosts(&self) -> impl Iterator<Item = (String, &Arc<VirtualHost>)> {
        let servers = match &self.transport {
            Transport::Plain | Transport::Permissive(_) | Transport::Strict(_) => None,
            Transport::Servers(servers) => Some(servers),
        };
        let servers = servers.into_iter().flat_map(HostTable::<TlsServer>::iter);
        let hosts = servers.filter_map(|(_, server)| server.hosts());
        let secured = hosts.flat_map(HostTable::iter);
        self.hosts.iter().chain(secured)
    }
}

// === impl Transport ===

impl Transport {
    /// Whether connections are in TLS, or may be.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Servers(_) | Self::Permissive(_) | Self::Strict(_) => true,
        }
    }

    /// Whether no connection can be taken.
    pub fn is_shut(&self) -> bool {
        matches!(self, Self::Strict(None))
    }

    /// What the workload behind it takes, as `PeerAuthentication` calls it; none at gateways.
    pub(crate) fn peers(&self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Servers(_) => None,
            Self::Permissive(_) => Some("PERMISSIVE"),
            Self::Strict(_) => Some("STRICT"),
        }
    }
}

// === impl Speaks ===

impl Speaks {
    /// In a word, for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Opaque => "anything",
            Self::Unknown => "what the first bytes tell",
        }
    }
}

// === impl Bind ===

impl Bind {
    /// Its port; none on a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
