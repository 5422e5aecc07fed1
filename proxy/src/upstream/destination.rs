//! Destinations: a host, a port and perhaps a subset, with policy and endpoints.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::TcpKeepalive;

use http::HeaderValue;

use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::breaker::{Breaker, Thresholds};
use crate::upstream::budget::{Retries, RetryLimit, Window};
use crate::upstream::caller::ProxyProtocol;
use crate::upstream::complaints::Complaints;
use crate::upstream::endpoint::Member;
use crate::upstream::health::Check;
use crate::upstream::http2::STREAMS_DEFAULT;
use crate::upstream::original::Originals;
use crate::upstream::outlier::{Detection, Ejections};
use crate::upstream::spoken::Spoken;

/// Connect timeout when nothing else is said.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle limit of upstream connections when nothing else is said.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Position of a destination in every snapshot that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub u32);

/// What identifies a destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// Host of the registry, or of the listener for an inbound destination.
    pub host: Arc<str>,
    /// Port of the service.
    pub port: u16,
    /// Subset; empty for the whole host.
    pub subset: Arc<str>,
    /// Traffic to the own workload.
    pub inbound: bool,
}

/// The destinations of one snapshot, by id. A place is empty while its id is not in use.
#[derive(Debug, Clone, Default)]
pub struct Destinations(pub Arc<[Option<Arc<Destination>>]>);

/// One destination of one snapshot.
#[derive(Debug)]
pub struct Destination {
    /// What identifies it.
    pub key: DestinationKey,
    /// How its connections and requests are treated.
    pub policy: Policy,
    /// Its endpoints and how one is picked.
    pub balancer: Balancer,
    /// Labels in metrics of traffic that found no endpoint.
    pub traffic: TrafficId,
    /// `namespace/name` of the `DestinationRule` that governs it, if there is one.
    pub rule: Option<Arc<str>>,
    /// What outlives reloads.
    pub live: Arc<Live>,
    /// The requests of the last while, if the budget of retries counts them; outlives reloads.
    pub(crate) window: Option<Arc<Window>>,
    /// Present if a connection goes where its caller wanted to.
    pub(crate) originals: Option<Arc<Originals>>,
}

/// A destination as one connection or request has it.
#[derive(Debug)]
pub(crate) enum Reached<'s> {
    /// As the snapshot has it.
    Shared(&'s Arc<Destination>),
    /// For the address that the caller asked for.
    Original(Arc<Destination>),
}

/// The state of a destination that outlives reloads.
#[derive(Debug, Default)]
pub struct Live {
    /// Turns of round robin so far, over all groups of endpoints.
    turn: AtomicUsize,
    /// Counts changes of what endpoints can take.
    changes: AtomicU64,
    /// Retries of all workers.
    pub(crate) retries: Arc<Retries>,
    /// Connections and requests of all workers.
    pub(crate) breaker: Arc<Breaker>,
    /// Endpoints that are taken out because they fail.
    pub(crate) ejections: Ejections,
    /// What was told of its TLS.
    pub(crate) complaints: Complaints,
    /// What connections spoke of which nobody had said it.
    pub(crate) spoken: Spoken,
}

/// How connections and requests of a destination are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Limit of a connect.
    pub connect_timeout: Duration,
    /// Idle limit of a pooled connection.
    pub idle_timeout: Duration,
    /// Requests after which a connection is closed; 0 means no limit.
    pub requests_per_connection_max: u32,
    /// Greatest age of a connection; one that is in use ends when its requests have.
    pub connection_age_max: Option<Duration>,
    /// How long a connection that is not HTTP may be silent; for ever if none.
    pub opaque_idle_timeout: Option<Duration>,
    /// Probes by which the system finds out that the other side is gone; off if none.
    pub tcp_keepalive: Option<TcpProbes>,
    /// How connections say whom they are opened for; not at all if none.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Most requests at once on one HTTP/2 connection; the upstream can allow less.
    pub streams_max: u32,
    /// PINGs on HTTP/2 connections; off if none.
    pub ping: Option<Ping>,
    /// Protocol of the connections.
    pub protocol: Protocol,
    /// Whether connections come from an address that says that they are the proxy's own
    /// (`127.0.0.6`, `::6`): what goes on to the workload must not be captured again.
    pub from_own: bool,
    /// What limits retries.
    pub retries: RetryLimit,
    /// What limits connections and requests.
    pub thresholds: Thresholds,
    /// When endpoints are ejected; never if none.
    pub outlier: Option<Box<Detection>>,
    /// How endpoints are checked; not at all if none.
    pub check: Option<Arc<Check>>,
}

/// How long connections that are not HTTP are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpLimits {
    /// Longest silence.
    pub(crate) idle: Option<Duration>,
    /// Greatest age.
    pub(crate) age: Option<Duration>,
}

/// Settings of TCP keep-alive, within what the system takes; unset leaves the system's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpProbes {
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes before the connection is given up.
    pub count: Option<u32>,
}

/// PINGs on HTTP/2 connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Time between PINGs.
    pub interval: Duration,
    /// Time for the answer; then the connection is given up.
    pub timeout: Duration,
}

/// Protocol of upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// What the downstream used.
    AsDownstream,
}

// === impl Destinations ===

impl Destinations {
    /// The destination with this id.
    pub fn get(&self, id: DestinationId) -> Option<&Arc<Destination>> {
        self.0.get(id.0 as usize)?.as_ref()
    }

    /// All destinations in use.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.0.iter().flatten()
    }
}

// === impl Live ===

impl Live {
    /// For one of several addresses: it has a history of its own, and shares what limits them all.
    pub(crate) fn of_address(&self) -> Self {
        Self {
            retries: Arc::clone(&self.retries),
            breaker: Arc::clone(&self.breaker),
            ..Self::default()
        }
    }

    /// How often [`changed`](Self::changed) was told: whoever derives something from the health of
    /// endpoints derives it again when this number is another.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The next turn of round robin.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Says that the health of an endpoint has changed.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

// === impl Destination ===

impl Destination {
    /// Its endpoints.
    pub fn members(&self) -> &[Member] {
        self.balancer.members()
    }

    /// Whether anything is under way at one of its endpoints.
    pub(crate) fn is_used(&self) -> bool {
        self.members().iter().any(|it| it.endpoint.active() > 0)
    }

    /// The destination for a connection that was going to `original`; none if it is to go there and
    /// nobody knows where that is.
    pub(crate) fn reached(self: &Arc<Self>, original: Option<SocketAddr>) -> Option<Reached<'_>> {
        let Some(originals) = &self.originals else {
            return Some(Reached::Shared(self));
        };
        match original.and_then(|addr| originals.at(self, addr)) {
            Some(found) => Some(Reached::Original(found)),
            None => (!self.members().is_empty()).then_some(Reached::Shared(self)),
        }
    }

    /// A destination without endpoints, for tests.
    #[cfg(test)]
    pub(crate) fn nowhere(host: &str, port: u16) -> Self {
        Self {
            key: DestinationKey {
                host: host.into(),
                port,
                subset: "".into(),
                inbound: false,
            },
            policy: Policy::default(),
            balancer: Balancer::least_request(Vec::new()),
            traffic: TrafficId::UNKNOWN,
            rule: None,
            live: Arc::default(),
            window: None,
            originals: None,
        }
    }
}

// === impl Reached ===

impl Deref for Reached<'_> {
    type Target = Arc<Destination>;

    fn deref(&self) -> &Arc<Destination> {
        match self {
            Self::Shared(destination) => destination,
            Self::Original(destination) => destination,
        }
    }
}

// === impl DestinationKey ===

impl DestinationKey {
    /// What a workload of the mesh is asked for in TLS, in the form that proxies of Istio use:
    /// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
    pub(crate) fn server_name(&self) -> String {
        format!("outbound_.{}_.{}_.{}", self.port, self.subset, self.host)
    }

    /// The host, with its port where that is not the default one: what a request calls it.
    pub(crate) fn authority(&self) -> HeaderValue {
        let text = match self.port {
            80 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        };
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }
}

impl fmt::Display for DestinationKey {
    /// The form that access logs know: `outbound|9080|v1|reviews.default.svc.cluster.local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == 0 {
            // What is no port of anybody has a name of its own.
            return f.write_str(&self.host);
        }
        let direction = if self.inbound { "inbound" } else { "outbound" };
        write!(f, "{direction}|{}|{}|{}", self.port, self.subset, self.host)
    }
}

// === impl TcpLimits ===

impl TcpLimits {
    /// The limits of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            idle: policy.opaque_idle_timeout,
            age: policy.connection_age_max,
        }
    }
}

// === impl TcpProbes ===

impl TcpProbes {
    /// In the terms of the socket.
    pub(crate) fn as_option(self) -> TcpKeepalive {
        let mut option = TcpKeepalive::new();
        if let Some(time) = self.time {
            option = option.with_time(time);
        }
        if let Some(interval) = self.interval {
            option = option.with_interval(interval);
        }
        if let Some(count) = self.count {
            option = option.with_retries(count);
        }
        option
    }
}

// === impl Policy ===

impl Policy {
    /// For addresses that nobody told us of: what is spoken there is what the caller speaks.
    pub(crate) fn beyond() -> Self {
        Self {
            protocol: Protocol::AsDownstream,
            ..Self::default()
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            requests_per_connection_max: 0,
            connection_age_max: None,
            opaque_idle_timeout: Some(IDLE_TIMEOUT),
            tcp_keepalive: None,
            proxy_protocol: None,
            streams_max: STREAMS_DEFAULT,
            ping: None,
            protocol: Protocol::Http1,
            from_own: false,
            retries: RetryLimit::Standard,
            thresholds: Thresholds::default(),
            outlier: None,
            check: None,
        }
    }
}
