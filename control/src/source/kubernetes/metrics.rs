//! What the watches say of themselves.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Counters of the watches, by kind.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Failures, by kind and reason.
    pub failures: IntCounterVec,
    /// Complete lists, by kind. More than one means that history was lost.
    pub lists: IntCounterVec,
    /// Objects that could not be used, by kind.
    pub refused: IntCounterVec,
    /// 1 for each kind that is not installed.
    pub missing: IntGaugeVec,
}

// === impl Metrics ===

impl Metrics {
    /// Counters that `registry` shows.
    ///
    /// # Errors
    ///
    /// If it has some of these names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let missing = IntGaugeVec::new(
            Opts::new(
                "meshcontrol_watch_missing",
                "1 for each kind whose definition the API server does not have",
            ),
            &["kind"],
        )?;
        registry.register(Box::new(missing.clone()))?;
        Ok(Self {
            failures: counter(
                "meshcontrol_watch_failures_total",
                "Failed lists and watches of the API server",
                &["kind", "reason"],
            )?,
            lists: counter(
                "meshcontrol_watch_lists_total",
                "Complete lists of the API server",
                &["kind"],
            )?,
            refused: counter(
                "meshcontrol_watch_refused_total",
                "Objects from the API server that cannot be used",
                &["kind"],
            )?,
            missing,
        })
    }
}
