//! What all policies together say of a request or a connection. Nothing is asked and nothing waits.

use std::fmt;
use std::sync::Arc;

use super::Authorization;
use super::facts::Facts;
use super::policy::{Matched, Policy};

/// What policies say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It may pass: by a policy that allows it, or because none has to.
    Allowed(Option<Matched>),
    /// It may not.
    Denied(Denial),
}

/// Why a request or a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// A policy says so.
    Matched(Matched),
    /// There are policies that allow, and none of them allows this.
    NotAllowed,
    /// An authorizer has to be asked, and cannot be: it does not speak of connections.
    Unasked(Matched),
}

// === impl Authorization ===

impl Authorization {
    /// What policies say, but for those whose authorizer has to be asked first.
    pub(crate) fn judge(&self, facts: &Facts<'_>) -> Judgement {
        if let Some(matched) = first(&self.deny, facts) {
            return Judgement::Denied(Denial::Matched(matched));
        }
        if self.allow.is_empty() {
            return Judgement::Allowed(None);
        }
        match first(&self.allow, facts) {
            Some(matched) => Judgement::Allowed(Some(matched)),
            None => Judgement::Denied(Denial::NotAllowed),
        }
    }

    /// What policies would say that are only tried; none if there are none, or they say nothing.
    pub(crate) fn tried(&self, facts: &Facts<'_>) -> Option<Judgement> {
        if let Some(matched) = first(&self.tried.deny, facts) {
            return Some(Judgement::Denied(Denial::Matched(matched)));
        }
        if self.tried.allow.is_empty() {
            return None;
        }
        Some(match first(&self.tried.allow, facts) {
            Some(matched) => Judgement::Allowed(Some(matched)),
            None => Judgement::Denied(Denial::NotAllowed),
        })
    }
}

/// The first policy that matches, which is counted.
pub(super) fn first(policies: &[Policy], facts: &Facts<'_>) -> Option<Matched> {
    policies.iter().find_map(|policy| matched(policy, facts))
}

/// Whether a policy matches; it is counted then.
pub(super) fn matched(policy: &Policy, facts: &Facts<'_>) -> Option<Matched> {
    let rule = policy.matching(facts)?;
    policy.matched.inc();
    Some(Matched {
        policy: Arc::clone(&policy.id),
        rule,
    })
}

// === impl Denial ===

impl Denial {
    /// The policy that decides, if one does.
    pub(crate) fn matched(&self) -> Option<&Matched> {
        match self {
            Self::Matched(matched) | Self::Unasked(matched) => Some(matched),
            Self::NotAllowed => None,
        }
    }
}

impl fmt::Display for Denial {
    /// As Istio's access log tells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched(Matched { policy, rule }) => write!(
                f,
                "rbac_access_denied_matched_policy[ns[{}]-policy[{}]-rule[{rule}]]",
                policy.namespace, policy.name
            ),
            Self::NotAllowed => f.write_str("rbac_access_denied_matched_policy[none]"),
            Self::Unasked(Matched { policy, rule }) => write!(
                f,
                "ext_authz_error[ns[{}]-policy[{}]-rule[{rule}]]",
                policy.namespace, policy.name
            ),
        }
    }
}
