//! Request metrics with Istio's names, and what the proxy says of itself.
//!
//! Every worker writes counters of its own and a scrape adds them up, so that recording a request
//! takes neither a lock nor an instruction that locks the bus. The price is one set of counters
//! for each worker and each combination of labels.

mod authorization;
mod control;
mod dns;
mod exposition;
mod faults;
mod groups;
mod health;
mod mirrors;
mod probes;
mod process;
mod proved;
mod rate_limits;
mod retries;
mod series;
mod tcp;
mod tls;
mod traffics;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::Registry;

use crate::snapshot::Publisher;
use crate::telemetry::flags::Flags;
use crate::telemetry::labels::{Identity, Reporter, Traffic, TrafficId};
use crate::telemetry::metrics::groups::{GroupKey, Groups};
use crate::telemetry::metrics::health::HealthCollector;
use crate::telemetry::metrics::series::Series;
use crate::telemetry::metrics::tcp::TcpSeries;
use crate::telemetry::metrics::traffics::Traffics;

pub use crate::telemetry::metrics::authorization::AuthorizationCounters;
pub use crate::telemetry::metrics::control::ControlCounters;
pub use crate::telemetry::metrics::dns::DnsCounters;
pub use crate::telemetry::metrics::exposition::Scrape;
pub use crate::telemetry::metrics::faults::FaultCounters;
pub use crate::telemetry::metrics::mirrors::MirrorCounters;
pub(crate) use crate::telemetry::metrics::mirrors::Mirrored;
pub use crate::telemetry::metrics::probes::ProbeCounters;
pub use crate::telemetry::metrics::process::{ProcessMetrics, Results};
pub use crate::telemetry::metrics::proved::Proved;
pub use crate::telemetry::metrics::rate_limits::RateLimitCounters;
pub use crate::telemetry::metrics::retries::RetryCounters;
pub use crate::telemetry::metrics::tcp::TcpCounters;
pub use crate::telemetry::metrics::tls::{Side, TlsMetrics};
pub use crate::telemetry::metrics::worker::WorkerMetrics;

/// Combinations of labels of request metrics when nothing else is said. One costs 0.6 KiB in each
/// worker that uses it and, being 64 lines of the exposition, about 50 KiB of every scrape.
pub const SERIES_MAX: usize = 10_000;
/// How long a series is shown after its last request.
pub const SERIES_IDLE: Duration = Duration::from_secs(15 * 60);

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// What the proxy says of itself.
    pub process: ProcessMetrics,
    registry: Registry,
    identity: Identity,
    traffics: Mutex<Traffics>,
    /// Taken by workers only for a combination of labels that is new to them.
    groups: Mutex<Groups>,
    /// Of connections that are not HTTP.
    tcp: TcpSeries,
    /// How often places became free: tells workers that what went into the overflow may have one.
    freed: AtomicU64,
    workers: AtomicU32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Status that the downstream got; 0 when it got none.
    pub code: u16,
    /// Why it is not simply what the upstream said.
    pub flags: Flags,
    /// What was spoken.
    pub protocol: RequestProtocol,
    /// Status of a gRPC call, if the response had one.
    pub grpc_status: Option<u16>,
}

/// What was spoken, as metrics tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestProtocol {
    /// HTTP of any version.
    Http,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
}

/// What one request measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
}

/// An outcome as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct OutcomeKey(u64);

// === impl Metrics ===

impl Metrics {
    /// Counters of the control plane, for a proxy that follows one; asked for once.
    pub(crate) fn control(&self) -> ControlCounters {
        ControlCounters::new(&self.registry)
            .expect("the names are constant, valid and distinct, and registered once")
    }

    /// Metrics of the workload `identity` with at most `series_max` combinations of labels; see
    /// [`SERIES_MAX`].
    pub fn new(identity: Identity, series_max: usize) -> Arc<Self> {
        let registry = Registry::new();
        let process = ProcessMetrics::register(&registry)
            .expect("the names of the proxy's own metrics are constant, valid and distinct");
        let traffics = Traffics::new();
        let overflow = [TrafficId::OVERFLOW_SOURCE, TrafficId::OVERFLOW_DESTINATION];
        let overflow = overflow.map(|id| traffics.labels(id));
        Arc::new(Self {
            process,
            registry,
            identity,
            traffics: Mutex::new(traffics),
            groups: Mutex::new(Groups::new(series_max, overflow)),
            tcp: TcpSeries::default(),
            freed: AtomicU64::new(0),
            workers: AtomicU32::new(0),
        })
    }

    /// Shows the health of the endpoints that are published from now on.
    pub fn show_health(&self, publisher: Publisher) {
        let collector = HealthCollector::new(publisher).map(Box::new);
        let registered = collector.and_then(|collector| self.registry.register(collector));
        debug_assert!(registered.is_ok(), "the names are constant, and shown once");
    }

    /// The number of these labels; equal labels have the same number for as long as the process
    /// lives. After 65 536 different ones the number is that of the overflow series.
    pub fn intern(&self, reporter: Reporter, traffic: Traffic) -> TrafficId {
        locked(&self.traffics).intern(reporter, traffic)
    }

    /// The number of the labels that `change` makes of those with the number `id`. What stands for no
    /// labels of its own stays as it is.
    fn relabel(
        &self,
        id: TrafficId,
        change: impl FnOnce(Reporter, Traffic) -> Traffic,
    ) -> TrafficId {
        if id.is_constant() {
            return id;
        }
        let mut traffics = locked(&self.traffics);
        let labels = traffics.labels(id);
        traffics.intern(
            labels.reporter,
            change(labels.reporter, labels.traffic.clone()),
        )
    }

    /// The recording side for one more worker.
    pub fn worker(self: &Arc<Self>) -> WorkerMetrics {
        WorkerMetrics::new(
            Arc::clone(self),
            self.workers.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// The text exposition piece by piece, so that a scrape of very many series needs little
    /// memory. Series without a request for [`SERIES_IDLE`] before `now` are left out and retired.
    pub fn scrape(&self, now: Instant) -> Scrape {
        let mut groups = locked(&self.groups);
        if groups.expire(now) {
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
        let shown = groups.shown();
        drop(groups);
        let tcp = self.tcp.shown(now);
        Scrape::new(self.registry.gather(), shown, tcp, self.identity.clone())
    }

    /// The counters of connections with these labels that are not HTTP.
    pub(crate) fn tcp(&self, traffic: TrafficId, flags: Flags) -> Arc<TcpCounters> {
        let labels = |id| locked(&self.traffics).labels(id);
        self.tcp.counters(traffic, flags, labels, Instant::now())
    }

    /// The whole text exposition.
    pub fn text(&self, now: Instant) -> String {
        self.scrape(now).collect()
    }

    /// The series of `worker` for these labels, or that of the overflow.
    fn series(&self, worker: u32, traffic: TrafficId, outcome: OutcomeKey) -> Arc<Series> {
        let labels = locked(&self.traffics).labels(traffic);
        let no_place = [TrafficId::OVERFLOW_SOURCE, TrafficId::OVERFLOW_DESTINATION];
        let outcome = if no_place.contains(&traffic) {
            OutcomeKey::OVERFLOW
        } else {
            outcome
        };
        let key = GroupKey { traffic, outcome };
        locked(&self.groups).series(worker, key, labels)
    }
}

// === impl RequestProtocol ===

impl RequestProtocol {
    /// Value of the label `request_protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

// === impl OutcomeKey ===

const GRPC_BITS: u32 = 8;
const PROTOCOL_BITS: u32 = 8;
const CODE_BITS: u32 = 16;
/// Highest gRPC status that has a meaning.
const GRPC_STATUS_MAX: u16 = 16;
/// The gRPC status `UNKNOWN`, which is how clients read one without a meaning.
const GRPC_STATUS_UNKNOWN: u16 = 2;

impl OutcomeKey {
    /// What all outcomes are in an overflow series.
    const OVERFLOW: Self = Self(u64::MAX);

    fn of(outcome: &Outcome) -> Self {
        let grpc = match outcome.grpc_status {
            None => 0,
            Some(status) if status > GRPC_STATUS_MAX => GRPC_STATUS_UNKNOWN + 1,
            Some(status) => status + 1,
        };
        let key = u64::from(outcome.flags.bits());
        let key = key << CODE_BITS | u64::from(outcome.code);
        let key = key << PROTOCOL_BITS | outcome.protocol as u64;
        Self(key << GRPC_BITS | u64::from(grpc))
    }

    /// The outcome; none for that of an overflow series.
    fn outcome(self) -> Option<Outcome> {
        if self == Self::OVERFLOW {
            return None;
        }
        let [grpc, protocol, code_low, code_high, flags @ ..] = self.0.to_le_bytes();
        Some(Outcome {
            code: u16::from_le_bytes([code_low, code_high]),
            flags: Flags::from_bits(u32::from_le_bytes(flags)),
            protocol: match protocol {
                0 => RequestProtocol::Http,
                1 => RequestProtocol::Grpc,
                _ => RequestProtocol::Tcp,
            },
            grpc_status: u16::from(grpc).checked_sub(1),
        })
    }
}

/// Nothing that is done under these locks leaves the data half changed, so a panic elsewhere is no
/// reason to stop counting.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
