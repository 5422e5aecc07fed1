//! Counters of probes of the application.

use prometheus::{IntCounter, IntCounterVec, Result};

/// Counters of probes that kubelet makes through us, by how they ended.
#[derive(Debug, Clone)]
pub struct ProbeCounters {
    pub(crate) passed: IntCounter,
    pub(crate) failed: IntCounter,
    /// There were too many at once.
    pub(crate) refused: IntCounter,
}

// === impl ProbeCounters ===

impl ProbeCounters {
    pub(super) fn new(by_result: &IntCounterVec) -> Result<Self> {
        let of = |result| by_result.get_metric_with_label_values(&[result]);
        Ok(Self {
            passed: of("passed")?,
            failed: of("failed")?,
            refused: of("refused")?,
        })
    }
}
