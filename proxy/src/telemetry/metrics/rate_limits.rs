//! Counters of rate limits, resolved for each limit when a table is compiled.

use prometheus::IntCounterVec;

use crate::rate_limit::shared::Results;
use crate::table::rate_limit::{Counters, LimitId};

/// Counters of rate limits by their labels.
#[derive(Debug, Clone)]
pub struct RateLimitCounters {
    /// Requests that passed, by policy and limit.
    pub(super) allowed: IntCounterVec,
    /// Requests that were refused, by policy and limit.
    pub(super) limited: IntCounterVec,
    /// Keys that were forgotten before their buckets were full, by policy and limit.
    pub(super) evicted: IntCounterVec,
    /// Questions to rate-limit services, by policy and result.
    pub(super) shared: IntCounterVec,
}

/// Results of questions to rate-limit services.
const RESULTS: [&str; 3] = ["ok", "over_limit", "failed"];

// === impl RateLimitCounters ===

impl RateLimitCounters {
    /// The counters of one limit.
    pub(crate) fn of(&self, id: &LimitId) -> Counters {
        let labels = [&*id.policy, &*id.limit];
        Counters {
            allowed: self.allowed.with_label_values(&labels),
            limited: self.limited.with_label_values(&labels),
            evicted: self.evicted.with_label_values(&labels),
        }
    }

    /// The counters of the service of one policy.
    pub(crate) fn of_service(&self, policy: &str) -> Results {
        let [ok, over, failed] =
            RESULTS.map(|result| self.shared.with_label_values(&[policy, result]));
        Results { ok, over, failed }
    }

    /// Shows a limit no longer that is gone.
    pub(crate) fn forget(&self, id: &LimitId) {
        for counters in [&self.allowed, &self.limited, &self.evicted] {
            // There is nothing to be done about one that is not there.
            let _ = counters.remove_label_values(&[&*id.policy, &*id.limit]);
        }
    }

    /// Shows the service of a policy no longer that has none.
    pub(crate) fn forget_service(&self, policy: &str) {
        for result in RESULTS {
            let _ = self.shared.remove_label_values(&[policy, result]);
        }
    }
}
