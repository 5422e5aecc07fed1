//! What is counted of the control plane, and of requests that wait for it.

use config::wire;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};

use crate::demand::DemandCounters;

/// Types of what is received, by what they are called in metrics.
const TYPES: [(&str, &str); 3] = [
    (wire::RESOURCES, "resource"),
    (wire::ENDPOINTS, "endpoints"),
    (wire::DEMANDS, "demand"),
];
/// What becomes of held requests.
const OUTCOMES: [&str; 4] = ["answered", "away", "full", "timeout"];
/// Buckets of the time until an answer is in use, in seconds.
const ANSWER_BUCKETS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What is counted of the control plane.
#[derive(Debug, Clone)]
pub struct ControlCounters {
    /// 1 while one is followed.
    pub(crate) connected: IntGauge,
    /// Streams that began.
    pub(crate) connects: IntCounter,
    /// Streams that ended or could not begin.
    pub(crate) failures: IntCounter,
    received: IntCounterVec,
    /// Resources that are held.
    pub(crate) held: IntGauge,
    /// Resources that cannot be used.
    pub(crate) rejected: IntGauge,
    demands: IntGaugeVec,
    /// Certificates that were asked for, by result.
    pub(crate) certificates: IntCounterVec,
    /// Requests that are held.
    pub(crate) demand: DemandCounters,
}

// === impl ControlCounters ===

impl ControlCounters {
    /// Counters that a registry collects; only proxies that follow a control plane have them.
    ///
    /// # Errors
    ///
    /// If it has series of these names.
    pub(crate) fn new(registry: &Registry) -> Result<Self> {
        let collected = Collected(registry);
        let received = collected.counters(
            "meshproxy_control_received_total",
            "Resources, slices of endpoints and answers that the control plane told.",
            "type",
        )?;
        for (_, name) in TYPES {
            received.get_metric_with_label_values(&[name])?;
        }
        let outcomes = collected.counters(
            "meshproxy_control_held_total",
            "Requests and connections that were held for an answer of the control plane.",
            "outcome",
        )?;
        for outcome in OUTCOMES {
            outcomes.get_metric_with_label_values(&[outcome])?;
        }
        let demands = Opts::new(
            "meshproxy_control_demands",
            "What was demanded of the control plane, by its answer.",
        );
        let demands = IntGaugeVec::new(demands, &["answer"])?;
        registry.register(Box::new(demands.clone()))?;
        let answer = HistogramOpts::new(
            "meshproxy_control_answer_seconds",
            "From a demand to its answer being in use.",
        );
        let answer_seconds = Histogram::with_opts(answer.buckets(ANSWER_BUCKETS.into()))?;
        registry.register(Box::new(answer_seconds.clone()))?;
        let gauge = |name, help| collected.gauge(name, help);
        Ok(Self {
            connected: gauge(
                "meshproxy_control_connected",
                "1 while a control plane is followed.",
            )?,
            connects: collected.counter(
                "meshproxy_control_connects_total",
                "Streams from the control plane that began.",
            )?,
            failures: collected.counter(
                "meshproxy_control_failures_total",
                "Streams from the control plane that ended or could not begin.",
            )?,
            received,
            held: gauge(
                "meshproxy_control_resources",
                "Resources and slices of endpoints that are held.",
            )?,
            rejected: gauge(
                "meshproxy_control_rejected",
                "Resources that cannot be used; their last good forms are.",
            )?,
            demands,
            certificates: collected.counters(
                "meshproxy_control_certificates_total",
                "Certificates that were asked for.",
                "result",
            )?,
            demand: DemandCounters {
                held: gauge(
                    "meshproxy_control_held",
                    "Requests and connections that are held for an answer now.",
                )?,
                outcomes,
                answer_seconds,
            },
        })
    }

    /// Counts what was told of a type.
    pub(crate) fn received(&self, type_url: &str, count: usize) {
        let named = TYPES.iter().find(|(url, _)| *url == type_url);
        if let Some((_, name)) = named {
            self.received
                .with_label_values(&[name])
                .inc_by(count as u64);
        }
    }

    /// Shows how many demands there are.
    pub(crate) fn demands(&self, found: usize, unknown: usize, pending: usize) {
        for (answer, count) in [("found", found), ("unknown", unknown), ("pending", pending)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.demands.with_label_values(&[answer]).set(count);
        }
    }
}

/// A registry, as something that makes what it collects.
struct Collected<'r>(&'r Registry);

// === impl Collected ===

impl Collected<'_> {
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }
}
