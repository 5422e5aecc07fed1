//! What is counted of proxies and of what they are told.

use config::wire::{DEMANDS, ENDPOINTS, RESOURCES};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// Bounds of what is measured in seconds: one change is to be everywhere within one.
const SECONDS: [f64; 12] = [
    0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0,
];
/// The same for the work of a moment.
const WORK_SECONDS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.01, 0.05, 0.25];

/// Series of the hub.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) generations: IntCounter,
    pub(crate) connected: IntGauge,
    pub(crate) lagging: IntGauge,
    /// Proxies that a generation may concern.
    pub(crate) woken: IntCounter,
    pushes: IntCounterVec,
    push_bytes: IntCounterVec,
    pub(crate) rejected: IntCounter,
    refused: IntCounterVec,
    pub(crate) scope_seconds: Histogram,
    pub(crate) convergence_seconds: Histogram,
}

// === impl Counters ===

impl Counters {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = Self {
            generations: IntCounter::new(
                "meshcontrol_generations_total",
                "Generations of the mesh that were published.",
            )?,
            connected: IntGauge::new("meshcontrol_proxies", "Connected proxies.")?,
            lagging: IntGauge::new(
                "meshcontrol_proxies_lagging",
                "Proxies that did not acknowledge a response for 30 seconds.",
            )?,
            woken: IntCounter::new(
                "meshcontrol_proxies_woken_total",
                "How often a proxy was woken by a generation that may concern it.",
            )?,
            pushes: IntCounterVec::new(
                Opts::new("meshcontrol_pushes_total", "Responses to proxies, by type."),
                &["type"],
            )?,
            push_bytes: IntCounterVec::new(
                Opts::new(
                    "meshcontrol_push_bytes_total",
                    "Bytes of responses to proxies, by type.",
                ),
                &["type"],
            )?,
            rejected: IntCounter::new(
                "meshcontrol_rejected_resources_total",
                "Resources of which proxies said that they cannot be used.",
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "meshcontrol_streams_refused_total",
                    "Streams that were not served or not any longer, by reason.",
                ),
                &["reason"],
            )?,
            scope_seconds: histogram(
                "meshcontrol_scope_seconds",
                "Time to find out what one proxy needs.",
                &WORK_SECONDS,
            )?,
            convergence_seconds: histogram(
                "meshcontrol_convergence_seconds",
                "Time from a change until a proxy that it concerns acknowledged it.",
                &SECONDS,
            )?,
        };
        counters.register_all(registry)?;
        Ok(counters)
    }

    fn register_all(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 10] = [
            Box::new(self.generations.clone()),
            Box::new(self.connected.clone()),
            Box::new(self.lagging.clone()),
            Box::new(self.woken.clone()),
            Box::new(self.pushes.clone()),
            Box::new(self.push_bytes.clone()),
            Box::new(self.rejected.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.scope_seconds.clone()),
            Box::new(self.convergence_seconds.clone()),
        ];
        all.into_iter().try_for_each(|it| registry.register(it))
    }

    /// Counts a response.
    pub(crate) fn pushed(&self, type_url: &str, bytes: usize) {
        let label = match type_url {
            RESOURCES => "resources",
            ENDPOINTS => "endpoints",
            DEMANDS => "demands",
            _ => "other",
        };
        self.pushes.with_label_values(&[label]).inc();
        let of_type = self.push_bytes.with_label_values(&[label]);
        of_type.inc_by(bytes as u64);
    }

    /// Counts a stream that is not served, or not any longer.
    pub(crate) fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
}
