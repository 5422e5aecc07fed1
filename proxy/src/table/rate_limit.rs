//! Limits of how many requests may pass, as this proxy keeps them.
//!
//! A limit is a policy's, compiled: which requests it counts, by what it tells them apart, and how
//! many may pass. What was used is live and lies behind references that outlive the table.

pub mod facts;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use config::Resource;
use prometheus::IntCounter;
use rustc_hash::FxHashMap;

use crate::rate_limit::Epoch;
use crate::rate_limit::buckets::{Bucket, Key, KeyTable};
use crate::rate_limit::message::Unit;
use crate::rate_limit::shared::Service;
use crate::table::route::Route;
use crate::table::rules::Block;
use facts::{Dimension, Facts};
use source::{Source, Sources};

/// Every limit of this proxy. A table without any has none of this.
#[derive(Debug)]
pub struct RateLimits {
    /// What buckets reckon time from; the same in every generation.
    pub(crate) epoch: Epoch,
    /// Limits of what comes to the workload or a gateway.
    pub incoming: Box<[Arc<Limit>]>,
    /// Limits of what meets a rule, by the address of the rule's resource.
    pub(crate) routed: FxHashMap<usize, Routed>,
    /// The own workload, the source of what goes out.
    pub(crate) own: Arc<Source>,
    /// Whose addresses are known.
    pub(crate) sources: Sources,
}

/// Limits of what meets a rule of a resource.
#[derive(Debug)]
pub struct Routed {
    /// Keeps its address from being another's.
    pub(crate) _resource: Arc<Resource>,
    pub(crate) limits: Vec<Arc<Limit>>,
}

/// One limit of a policy.
#[derive(Debug)]
pub struct Limit {
    /// Who it is.
    pub id: Arc<LimitId>,
    /// It counts requests that meet one of these; all, if there are none.
    pub blocks: Box<[Block]>,
    /// Each combination of values is counted apart.
    pub key: Box<[Dimension]>,
    /// How many requests may pass.
    pub quota: Quota,
    /// Other numbers for some of them; the first that fits counts.
    pub overrides: Box<[Override]>,
    /// It looks at headers, also at those that the proxy adds: they must be in their place then.
    pub(crate) looks_at_headers: bool,
    /// Requests that passed, and those that did not.
    pub(crate) counters: Counters,
}

/// Name of a limit in logs, metrics and towards rate-limit services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitId {
    /// `namespace/name` of the policy.
    pub policy: Arc<str>,
    /// Name of the limit in it.
    pub limit: Arc<str>,
}

/// Other numbers for requests of which all dimensions have these values.
#[derive(Debug)]
pub struct Override {
    /// Dimensions and their values.
    pub conditions: Box<[(Dimension, Box<str>)]>,
    /// How many of them may pass.
    pub quota: Quota,
}

/// How many requests may pass, and where it is written down how many did.
#[derive(Debug)]
pub struct Quota {
    /// Requests in `per`.
    pub requests: u32,
    /// The span.
    pub per: Duration,
    /// Requests at once.
    pub burst: u32,
    /// Who counts.
    pub tally: Tally,
}

/// Who counts requests.
#[derive(Debug, Clone)]
pub enum Tally {
    /// One bucket for all.
    One(Arc<Bucket>),
    /// A bucket for each key.
    PerKey(Arc<KeyTable>),
    /// A service, by spans that it has a name for.
    Shared {
        /// The service.
        service: Arc<Service>,
        /// The span.
        unit: Unit,
    },
}

/// What is counted of a limit; resolved when the table is compiled.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Requests that passed.
    pub allowed: IntCounter,
    /// Requests that were refused.
    pub limited: IntCounter,
    /// Keys that were forgotten before their buckets were full.
    pub evicted: IntCounter,
}

// === impl RateLimits ===

impl RateLimits {
    /// Limits of what meets a route.
    #[inline]
    pub fn routed(&self, route: &Route) -> &[Arc<Limit>] {
        let Some(origin) = route.origin.as_ref().filter(|_| !self.routed.is_empty()) else {
            return &[];
        };
        let found = self.routed.get(&Arc::as_ptr(origin).addr());
        found.map_or(&[], |routed| &routed.limits)
    }

    /// Every limit once, by name.
    pub fn all(&self) -> Vec<&Arc<Limit>> {
        let routed = self.routed.values().flat_map(|routed| &routed.limits);
        let mut all: Vec<&Arc<Limit>> = self.incoming.iter().chain(routed).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.dedup_by(|a, b| a.id == b.id);
        all
    }

    /// The time now, as buckets reckon it.
    pub(crate) fn now(&self) -> u64 {
        self.epoch.nanos()
    }
}

// === impl Limit ===

impl Limit {
    /// Whether it counts a request.
    pub fn counts(&self, facts: &Facts<'_>) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(|block| facts.meet(block))
    }

    /// The override that fits a request, if one does.
    pub fn override_for(&self, facts: &Facts<'_>) -> Option<&Override> {
        let fits = |over: &&Override| {
            let mut conditions = over.conditions.iter();
            conditions.all(|(dimension, value)| dimension.is(value, facts))
        };
        self.overrides.iter().find(fits)
    }

    /// How many requests like this one may pass.
    pub fn quota_for(&self, facts: &Facts<'_>) -> &Quota {
        let over = self.override_for(facts);
        over.map_or(&self.quota, |over| &over.quota)
    }

    /// The key of a request in the table.
    pub(crate) fn key_of(&self, facts: &Facts<'_>, table: &KeyTable) -> Key {
        let mut key = table.key();
        for dimension in &self.key {
            key.part(&dimension.value(facts));
        }
        key.finish()
    }
}

// === impl LimitId ===

impl std::fmt::Display for LimitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.policy, self.limit)
    }
}
