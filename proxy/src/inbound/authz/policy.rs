//! One policy: what becomes of what its rules match.

use std::fmt;
use std::sync::Arc;

use prometheus::IntCounter;
use serde::Serialize;

use super::facts::Facts;
use super::rule::{Mismatch, Rule, WithoutHttp};

/// Name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PolicyId {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name in the namespace.
    pub name: Box<str>,
}

/// What becomes of what a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Somebody else is asked.
    Custom,
    /// It is refused.
    Deny,
    /// It may pass.
    Allow,
    /// It is recorded.
    Audit,
}

/// A policy, compiled.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub id: Arc<PolicyId>,
    /// What becomes of what it matches.
    pub action: Action,
    /// Whether it is only tried.
    pub dry_run: bool,
    /// A match is a match of one of them.
    pub(crate) rules: Box<[Rule]>,
    /// What it matched.
    pub(crate) matched: IntCounter,
}

/// A policy that matched, and the rule by which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The policy.
    pub policy: Arc<PolicyId>,
    /// Position of the rule in it.
    pub rule: usize,
}

// === impl Action ===

impl Action {
    /// Its name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Audit => "audit",
        }
    }

    /// What a match of a policy with it is called in metrics.
    pub(crate) fn result(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Custom, false) => "asked",
            (Self::Custom, true) => "would_ask",
            (Self::Deny, false) => "denied",
            (Self::Deny, true) => "would_deny",
            (Self::Allow, false) => "allowed",
            (Self::Allow, true) => "would_allow",
            (Self::Audit, _) => "audited",
        }
    }

    /// What becomes of conditions on HTTP where it is not spoken.
    fn without_http(self) -> WithoutHttp {
        match self {
            Self::Allow => WithoutHttp::Fails,
            Self::Custom | Self::Deny | Self::Audit => WithoutHttp::Holds,
        }
    }
}

// === impl Policy ===

impl Policy {
    /// The first of its rules that matches.
    pub(crate) fn matching(&self, facts: &Facts<'_>) -> Option<usize> {
        let without = self.action.without_http();
        let mut rules = self.rules.iter();
        rules.position(|rule| rule.matches(facts, without))
    }

    /// Why each of its rules does not match; none for those that do.
    pub(crate) fn mismatches(&self, facts: &Facts<'_>) -> Vec<Option<Mismatch>> {
        let without = self.action.without_http();
        let rules = self.rules.iter();
        rules.map(|rule| rule.mismatch(facts, without)).collect()
    }
}

// === impl PolicyId ===

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Matched ===

impl fmt::Display for Matched {
    /// `namespace/name[rule]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.policy, self.rule)
    }
}
