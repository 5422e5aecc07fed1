//! What policies of authorization say of a request that comes in.

use serde::Serialize;

use crate::inbound::authz::policy::Action;

/// What decides whether a request may in, and every policy that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authorization {
    /// Whom the peer proves to be; none without an identity.
    pub(crate) principal: Option<String>,
    /// Whether it may in, as far as that is decided here.
    pub(crate) allowed: bool,
    /// `namespace/name[rule]` of the policy that decides; none if no policy does.
    pub(crate) by: Option<String>,
    /// Authorizers that are asked before.
    pub(crate) asks: Vec<String>,
    /// Every policy, in the order in which they are looked at.
    pub(crate) policies: Vec<Looked>,
}

/// A policy, and why it matches or not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Looked {
    /// `namespace/name`.
    pub(crate) policy: String,
    pub(crate) action: Action,
    pub(crate) dry_run: bool,
    /// The first rule that matches.
    pub(crate) matched: Option<usize>,
    /// Why rules do not match, by their positions.
    pub(crate) mismatches: Vec<Unmet>,
}

/// The condition of a rule that does not hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unmet {
    pub(crate) rule: usize,
    /// Such as `from[0].source.principals`.
    pub(crate) place: String,
    /// None if there was nothing.
    pub(crate) found: Option<String>,
}
