//! One address that serves requests, and what is known of it right now.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::telemetry::labels::TrafficId;
use crate::tls::client::Channel;
use crate::upstream::health::Health;
use crate::upstream::idle_limit::IdleLimit;
use crate::upstream::outlier::Streaks;
use crate::upstream::pool::HomeKey;

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddr {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Unix domain socket.
    Unix(PathBuf),
}

/// The live state of one address of one destination. It outlives reloads for as long as the
/// destination keeps the address; workers share it.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process, never reused: the key of the workers' pools.
    pub id: u64,
    /// Where it listens.
    pub addr: EndpointAddr,
    /// How long it keeps connections that rest.
    pub idle_limit: IdleLimit,
    /// Whether it takes requests.
    pub health: Health,
    /// Since when it is known.
    pub born: Instant,
    /// Its failures in a row.
    pub(crate) streaks: Streaks,
    /// Requests that are under way, over all workers.
    active: AtomicU32,
    /// Requests sent, for `/destinations`.
    requests: AtomicU64,
    /// Attempts that failed without an answer, for `/destinations`.
    failures: AtomicU64,
}

/// An endpoint's place in a destination: what configuration says of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The live endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Relative weight, at least 1.
    pub weight: u32,
    /// Labels of the traffic to it in metrics.
    pub traffic: TrafficId,
    /// `region/zone/subzone`, as far as it is known.
    pub locality: Option<Arc<str>>,
    /// How it is spoken to below HTTP.
    pub channel: Channel,
}

/// Counts a request as under way until dropped.
#[derive(Debug)]
pub struct Active(Arc<Endpoint>);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint without history.
    pub fn new(addr: EndpointAddr) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            addr,
            idle_limit: IdleLimit::default(),
            health: Health::default(),
            born: Instant::now(),
            streaks: Streaks::default(),
            active: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Requests that are under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Requests sent since the endpoint is known.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Attempts without an answer since the endpoint is known.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Counts a request as under way.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// Takes back the count of a request that was never sent.
    pub(crate) fn unsent(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts an attempt without an answer.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Member ===

impl Member {
    /// Where its connections are kept that serve for all.
    pub(crate) fn home(&self) -> HomeKey {
        HomeKey {
            endpoint: self.endpoint.id,
            channel: self.channel.id(),
            caller: 0,
        }
    }
}

// === impl Active ===

impl Active {
    /// Ends it as one that nothing was sent of.
    pub(crate) fn unsent(self) {
        self.0.unsent();
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl EndpointAddr ===

impl fmt::Display for EndpointAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
