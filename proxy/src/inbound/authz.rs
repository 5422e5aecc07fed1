//! What `AuthorizationPolicy` resources say of requests and connections.
//!
//! Policies are compiled once for each generation. Judging looks at them in the order of Istio: an
//! authorizer is asked where a policy says so (`CUSTOM`), then nothing may be denied, then, if there
//! are policies that allow, one of them must. What is judged is what is sent on: the path in normal
//! form, headers as the upstream gets them.
//!
//! What a field finds absent it does not match, so that its `not` form holds: a peer without identity
//! is none of `principals` and not one of `notPrincipals`.

pub(crate) mod check;
pub mod external;
pub(crate) mod facts;
pub(crate) mod judge;
pub(crate) mod pattern;
pub mod policy;
pub(crate) mod rule;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use config::spiffe::SpiffeId;
use prometheus::IntCounter;
use rustc_hash::FxHashSet;

use crate::inbound::Arrival;
use crate::request::{Downstream, Rejection};
use crate::table::Direction;
use crate::upstream::Outgoing;
use external::Asked;
use facts::{Facts, Request};
pub use judge::Denial;
use judge::{Judgement, first, matched};
use policy::{Action, Policy, PolicyId};

/// The policies of this proxy, each kind in the order in which they take precedence.
#[derive(Debug)]
pub struct Authorization {
    /// Authorizers, and the policies that ask them.
    pub(crate) custom: Box<[Asked]>,
    pub(crate) deny: Box<[Policy]>,
    pub(crate) allow: Box<[Policy]>,
    pub(crate) audit: Box<[Policy]>,
    pub(crate) tried: Tried,
    /// Requests that no policy allowed, and those that none would allow that is only tried.
    pub(crate) not_allowed: IntCounter,
    pub(crate) would_not_allow: IntCounter,
    /// They look at headers, also at those that the proxy adds: they must be in their place then.
    pub(crate) looks_at_headers: bool,
    /// Proxies in front that are believed whom they got a request from.
    pub(crate) trusted_hops: u32,
    /// Trust domains of which only the authorities of the mesh may say who is who.
    pub(crate) trust_domains: Box<[Box<str>]>,
}

/// Policies that are only tried: what they would do is counted and logged.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(crate) deny: Box<[Policy]>,
    pub(crate) allow: Box<[Policy]>,
    pub(crate) custom: Box<[Policy]>,
}

/// Labels of what is counted.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) policies: FxHashSet<(PolicyId, Action, bool)>,
    pub(crate) providers: FxHashSet<Arc<str>>,
}

/// What the log says of a request that was judged. Empty where there is nothing to say.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The policy and rule that allowed it, as `namespace/name[rule]`.
    pub(crate) allowed: String,
    /// The policy and rule that denied it, in the same form.
    pub(crate) denied: String,
    /// Those that record it, with commas between.
    pub(crate) audited: String,
    /// What would become of it by policies that are only tried.
    pub(crate) tried: String,
}

// === impl Series ===

impl FromIterator<Self> for Series {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut together = Self::default();
        for one in all {
            together.policies.extend(one.policies);
            together.providers.extend(one.providers);
        }
        together
    }
}

// === impl Notes ===

impl Notes {
    /// The policy and rule that decided; empty if none did.
    pub(crate) fn decided(&self) -> &str {
        match self.denied.is_empty() {
            true => &self.allowed,
            false => &self.denied,
        }
    }
}

// === impl Authorization ===

impl Authorization {
    /// Asks outside authorizers about a request, where policies say so.
    pub(crate) async fn ask(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        if self.looks_at_headers {
            outgoing.settle_headers();
        }
        for asked in &self.custom {
            let facts = self.facts(arrival.downstream, arrival.direction, outgoing);
            let matching = first(&asked.policies, &facts);
            if let Some(matching) = matching {
                asked.ask(arrival, outgoing, matching).await?;
            }
        }
        Ok(())
    }

    /// Lets a request pass by its policies.
    pub(crate) fn authorize(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &Outgoing,
    ) -> Result<(), Rejection> {
        let facts = self.facts(arrival.downstream, arrival.direction, outgoing);
        let judgement = self.judge(&facts);
        let mut notes = arrival.notes.borrow_mut();
        let mut notes = notes.as_deref_mut();
        self.record(&facts, notes.as_deref_mut());
        match judgement {
            Judgement::Allowed(by) => {
                if let (Some(notes), Some(by)) = (notes, by) {
                    notes.allowed = by.to_string();
                }
                Ok(())
            }
            Judgement::Denied(denial) => {
                self.count_denial(&denial, arrival.downstream);
                if let (Some(notes), Some(by)) = (notes, denial.matched()) {
                    notes.denied = by.to_string();
                }
                Err(Rejection::Denied(Box::new(denial)))
            }
        }
    }

    /// Lets a connection pass that is not HTTP.
    ///
    /// Judged once when it is opened, and by whoever keeps it open with [`Self::tolerates`] when a new
    /// generation comes.
    ///
    /// # Errors
    ///
    /// Which policy refuses it.
    pub fn authorize_connection(&self, downstream: &Downstream) -> Result<(), Denial> {
        let facts = self.connection_facts(downstream);
        self.record(&facts, None);
        let judged = self.judge_connection(&facts);
        if let Err(denial) = &judged {
            self.count_denial(denial, downstream);
        }
        judged
    }

    /// Whether a connection may be let in as far as it is known before it has said anything. Nothing is
    /// counted: it is judged again when it is known what it speaks.
    pub(crate) fn may_admit(&self, downstream: &Downstream) -> bool {
        let facts = self.connection_facts(downstream);
        let matches = |policies: &[Policy]| policies.iter().any(|it| it.matching(&facts).is_some());
        let is_asked_about = self.custom.iter().any(|it| matches(&it.policies));
        let is_allowed = self.allow.is_empty() || matches(&self.allow);
        is_allowed && !is_asked_about && !matches(&self.deny)
    }

    /// Whether a connection that is open and not HTTP may stay so.
    ///
    /// # Errors
    ///
    /// Which policy would refuse it.
    pub fn tolerates(&self, downstream: &Downstream) -> Result<(), Denial> {
        self.judge_connection(&self.connection_facts(downstream))
    }

    /// Whether a request that was let in may go on in its tunnel. Authorizers are not asked again.
    ///
    /// # Errors
    ///
    /// Which policy would refuse it.
    pub(crate) fn tolerates_request(
        &self,
        downstream: &Downstream,
        direction: Direction,
        request: Request<'_>,
    ) -> Result<(), Denial> {
        let hops = self.trusted_hops;
        let facts = Facts::of_parts(downstream, direction, hops, request);
        let facts = self.believing(facts, downstream);
        match self.judge(&facts) {
            Judgement::Allowed(_) => Ok(()),
            Judgement::Denied(denial) => Err(denial),
        }
    }

    fn judge_connection(&self, facts: &Facts<'_>) -> Result<(), Denial> {
        // Authorizers speak of requests. A connection that has to be asked about stays shut.
        let mut custom = self.custom.iter();
        if let Some(unasked) = custom.find_map(|asked| first(&asked.policies, facts)) {
            return Err(Denial::Unasked(unasked));
        }
        match self.judge(facts) {
            Judgement::Allowed(_) => Ok(()),
            Judgement::Denied(denial) => Err(denial),
        }
    }

    /// What policies look at in a request.
    pub(crate) fn facts<'r>(
        &self,
        downstream: &'r Downstream,
        direction: Direction,
        outgoing: &'r Outgoing,
    ) -> Facts<'r> {
        let facts = Facts::of_request(downstream, direction, self.trusted_hops, outgoing);
        self.believing(facts, downstream)
    }

    /// What they look at in a connection.
    fn connection_facts<'r>(&self, downstream: &'r Downstream) -> Facts<'r> {
        self.believing(Facts::of_connection(downstream), downstream)
    }

    /// The same facts, without a peer that a stranger says is of the mesh: authorities that a gateway
    /// believes for clients from outside have no say in who workloads are.
    fn believing<'r>(&self, facts: Facts<'r>, downstream: &Downstream) -> Facts<'r> {
        let foreign = downstream
            .security
            .as_ref()
            .is_some_and(|it| !it.is_of_mesh());
        let own = |peer: &SpiffeId| {
            let mut domains = self.trust_domains.iter();
            domains.any(|it| **it == *peer.trust_domain())
        };
        let peer = facts.peer.filter(|peer| !(foreign && own(peer)));
        Facts { peer, ..facts }
    }

    /// Every policy, in the order in which they are looked at.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policy> {
        let custom = self.custom.iter().flat_map(|asked| &asked.policies);
        let tried = self.tried.custom.iter().chain(&self.tried.deny);
        let tried = tried.chain(&self.tried.allow);
        let in_force = custom.chain(&self.deny).chain(&self.allow);
        in_force.chain(&self.audit).chain(tried)
    }

    /// What is counted of policies and authorizers, by labels.
    pub(crate) fn series(&self) -> Series {
        let policies = self.policies();
        let of_policy = |it: &Policy| ((*it.id).clone(), it.action, it.dry_run);
        Series {
            policies: policies.map(of_policy).collect(),
            providers: self
                .custom
                .iter()
                .map(|it| Arc::clone(&it.provider))
                .collect(),
        }
    }

    /// Counts, and notes if somebody wants to know, what has no effect on the request.
    fn record(&self, facts: &Facts<'_>, mut notes: Option<&mut Notes>) {
        for policy in &self.audit {
            let Some(matched) = matched(policy, facts) else {
                continue;
            };
            if let Some(notes) = notes.as_deref_mut() {
                let comma = if notes.audited.is_empty() { "" } else { "," };
                // A string takes everything.
                let _ = write!(notes.audited, "{comma}{matched}");
            }
        }
        for policy in &self.tried.custom {
            let _ = matched(policy, facts);
        }
        let (denied, by) = match self.tried(facts) {
            None => return,
            Some(Judgement::Allowed(by)) => (false, by),
            Some(Judgement::Denied(Denial::Matched(by) | Denial::Unasked(by))) => (true, Some(by)),
            Some(Judgement::Denied(Denial::NotAllowed)) => {
                self.would_not_allow.inc();
                (true, None)
            }
        };
        if let Some(notes) = notes {
            let verb = if denied { "would_deny" } else { "would_allow" };
            let by = by.map_or_else(|| "none".to_owned(), |by| by.to_string());
            notes.tried = format!("{verb} {by}");
        }
    }

    fn count_denial(&self, denial: &Denial, downstream: &Downstream) {
        if *denial == Denial::NotAllowed {
            self.not_allowed.inc();
        }
        tracing::debug!(peer = ?downstream.peer, listener = %downstream.bind, %denial, "denied");
    }
}
