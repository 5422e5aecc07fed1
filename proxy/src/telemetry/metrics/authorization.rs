//! Counters of authorization, resolved for each policy when a table is compiled.

use prometheus::{IntCounter, IntCounterVec};

use crate::inbound::authz::Series;
use crate::inbound::authz::external::Results;
use crate::inbound::authz::policy::{Action, PolicyId};

/// Counters of authorization by their labels.
#[derive(Debug, Clone)]
pub struct AuthorizationCounters {
    /// Requests and connections, by action, policy and result.
    pub(super) judged: IntCounterVec,
    /// Questions to authorizers, by provider and result.
    pub(super) asked: IntCounterVec,
}

/// What stands for the policy where none allows; the names of policies have a slash in them.
const NO_POLICY: &str = "none";
/// Results of questions to authorizers.
const RESULTS: [&str; 3] = ["allowed", "denied", "failed"];

// === impl AuthorizationCounters ===

impl AuthorizationCounters {
    /// What a policy matches.
    pub(crate) fn of(&self, id: &PolicyId, action: Action, dry_run: bool) -> IntCounter {
        let labels = [action.as_str(), &id.to_string(), action.result(dry_run)];
        self.judged.with_label_values(&labels)
    }

    /// What no policy allows.
    pub(crate) fn not_allowed(&self, dry_run: bool) -> IntCounter {
        let result = Action::Deny.result(dry_run);
        self.judged
            .with_label_values(&[Action::Allow.as_str(), NO_POLICY, result])
    }

    /// Questions to one authorizer.
    pub(crate) fn of_provider(&self, name: &str) -> Results {
        let [allowed, denied, failed] =
            RESULTS.map(|result| self.asked.with_label_values(&[name, result]));
        Results {
            allowed,
            denied,
            failed,
        }
    }

    /// Shows no longer what only another generation has.
    pub(crate) fn forget(&self, other: &Series, kept: &Series) {
        for (id, action, dry_run) in other.policies.difference(&kept.policies) {
            let labels = [action.as_str(), &id.to_string(), action.result(*dry_run)];
            // There is nothing to be done about one that is not there.
            let _ = self.judged.remove_label_values(&labels);
        }
        for name in other.providers.difference(&kept.providers) {
            for result in RESULTS {
                let _ = self.asked.remove_label_values(&[name, result]);
            }
        }
    }
}
