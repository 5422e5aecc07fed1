//! Counters of injected faults.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

/// Counters of injected faults by kind, each resolved at the start: under a fault of 100 % every
/// request meets them.
#[derive(Debug, Clone)]
pub struct FaultCounters {
    delays: IntCounter,
    delays_active: IntGauge,
    /// Answers with an error.
    pub(crate) aborts: IntCounter,
    /// Resets instead of an answer.
    pub(crate) resets: IntCounter,
    /// Answers whose body comes slowly.
    pub(crate) slow_bodies: IntCounter,
}

/// Counts a request as delayed until dropped, however the delay ends.
#[derive(Debug)]
pub(crate) struct Delayed(IntGauge);

// === impl FaultCounters ===

impl FaultCounters {
    pub(super) fn new(by_kind: &IntCounterVec, delays_active: IntGauge) -> Result<Self> {
        let of = |kind| by_kind.get_metric_with_label_values(&[kind]);
        Ok(Self {
            delays: of("delay")?,
            delays_active,
            aborts: of("abort")?,
            resets: of("reset")?,
            slow_bodies: of("slow-body")?,
        })
    }

    /// Counts a delay that begins.
    pub(crate) fn delay(&self) -> Delayed {
        self.delays.inc();
        self.delays_active.inc();
        Delayed(self.delays_active.clone())
    }
}

// === impl Delayed ===

impl Drop for Delayed {
    fn drop(&mut self) {
        self.0.dec();
    }
}
