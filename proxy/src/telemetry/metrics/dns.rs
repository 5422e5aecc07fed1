//! Counters of the names that the workload asks for.

use prometheus::{IntCounter, IntCounterVec, Result};

/// Causes for which name servers gave no answer.
const CAUSES: [&str; 4] = ["full", "no_server", "timeout", "unreachable"];

/// Counters of questions by who answered, and of name servers that did not.
#[derive(Debug, Clone)]
pub struct DnsCounters {
    /// Answered from what the mesh knows.
    pub(crate) mesh: IntCounter,
    /// Answered by a name server.
    pub(crate) upstream: IntCounter,
    /// Not answered, or with what was wrong.
    pub(crate) refused: IntCounter,
    /// Nobody could tell.
    nobody: IntCounter,
    failures: IntCounterVec,
}

// === impl DnsCounters ===

impl DnsCounters {
    pub(super) fn new(by_answer: &IntCounterVec, failures: IntCounterVec) -> Result<Self> {
        for cause in CAUSES {
            failures.get_metric_with_label_values(&[cause])?;
        }
        let by = |who| by_answer.get_metric_with_label_values(&[who]);
        Ok(Self {
            mesh: by("mesh")?,
            upstream: by("upstream")?,
            refused: by("refused")?,
            nobody: by("nobody")?,
            failures,
        })
    }

    /// Counts a question that no name server answered.
    pub(crate) fn failed(&self, cause: &str) {
        self.nobody.inc();
        self.failures.with_label_values(&[cause]).inc();
    }
}
