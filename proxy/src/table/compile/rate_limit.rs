//! From `RateLimitPolicy` resources to the limits of this proxy, whose buckets stay the same objects.

use std::sync::Arc;
use std::time::Duration;

use config::mesh::{Limiting, Mesh, Subject};
use config::resource::rate_limit_policy::{
    FailureMode, Limit as Written, Override as WrittenOverride, RateLimitPolicy, Scope,
};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::Perspective;
use super::destinations::Registry;
use super::rules::block;
use crate::rate_limit::Epoch;
use crate::rate_limit::buckets::{Bucket, Budget, KeyTable, PLACES_MAX};
use crate::rate_limit::gcra::Rate;
use crate::rate_limit::message::Unit;
use crate::rate_limit::shared::{DOMAIN_DEFAULT, Service, Standing, TIMEOUT_DEFAULT};
use crate::table::rate_limit::facts::Dimension;
use crate::table::rate_limit::source::{Source, Sources};
use crate::table::rate_limit::{Limit, LimitId, Override, Quota, RateLimits, Routed, Tally};
use crate::table::rules::Block;
use crate::telemetry::metrics::RateLimitCounters;

/// The buckets of one generation, by what is counted in them, and the numbers that they are to have.
#[derive(Debug)]
pub(super) struct Ledger {
    epoch: Epoch,
    /// Of the tables of all generations.
    budget: Arc<Budget>,
    buckets: FxHashMap<Account, (Arc<Bucket>, Rate)>,
    tables: FxHashMap<Account, (Arc<KeyTable>, Rate)>,
    limits: FxHashSet<Arc<LimitId>>,
    services: FxHashSet<Arc<str>>,
}

/// Whose requests are counted: those of a limit or, with dimensions, of an override. Numbers are no
/// part of it, as they may change while what was used stays used.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Account {
    limit: Arc<LimitId>,
    /// Dimensions that its requests are told apart by.
    key: Box<[String]>,
    /// Dimensions and values of the override.
    of_override: String,
}

/// Compiles the limits of one generation.
pub(super) struct LimitCompiler<'c> {
    pub(super) mesh: &'c Mesh,
    pub(super) perspective: &'c Perspective,
    pub(super) registry: &'c mut Registry,
    pub(super) counters: &'c RateLimitCounters,
    /// Of the generation before.
    pub(super) before: &'c Ledger,
    /// Of this one.
    pub(super) ledger: Ledger,
}

// === impl Ledger ===

impl Ledger {
    /// Nothing is counted, and time begins.
    pub(super) fn new() -> Self {
        Self::with(Epoch::begin(), Arc::new(Budget::new(PLACES_MAX)))
    }

    /// Nothing is counted in this generation yet.
    pub(super) fn next(&self) -> Self {
        Self::with(self.epoch, Arc::clone(&self.budget))
    }

    fn with(epoch: Epoch, budget: Arc<Budget>) -> Self {
        Self {
            epoch,
            budget,
            buckets: FxHashMap::default(),
            tables: FxHashMap::default(),
            limits: FxHashSet::default(),
            services: FxHashSet::default(),
        }
    }

    /// Gives every bucket the numbers of this generation, which is in use from now on.
    pub(super) fn settle(&self) {
        let now = self.epoch.nanos();
        for (bucket, rate) in self.buckets.values() {
            bucket.change(*rate, now);
        }
        for (table, rate) in self.tables.values() {
            table.change(*rate, now);
        }
    }

    /// Shows in metrics no longer what only another generation has: the one before, or one that was
    /// given up.
    pub(super) fn forget(&self, other: &Self, counters: &RateLimitCounters) {
        for gone in other.limits.difference(&self.limits) {
            counters.forget(gone);
        }
        for gone in other.services.difference(&self.services) {
            counters.forget_service(gone);
        }
    }
}

// === impl LimitCompiler ===

impl LimitCompiler<'_> {
    /// Every limit that concerns this proxy, and their buckets; none if nothing is limited.
    pub(super) fn compile(mut self) -> (Option<RateLimits>, Ledger) {
        let mut incoming: Vec<Arc<Limit>> = Vec::new();
        let mut routed: FxHashMap<usize, Routed> = FxHashMap::default();
        let mesh = self.mesh;
        for limiting in mesh.rate_limits(&self.perspective.viewer) {
            let limits = self.limits(&limiting);
            match limiting.subject {
                Subject::Incoming => incoming.extend(limits),
                Subject::Routed(resources) => {
                    for resource in resources {
                        let routed = routed.entry(Arc::as_ptr(resource).addr());
                        let routed = routed.or_insert_with(|| Routed {
                            _resource: Arc::clone(resource),
                            limits: Vec::new(),
                        });
                        routed.limits.extend(limits.iter().cloned());
                    }
                }
            }
        }
        if incoming.is_empty() && routed.is_empty() {
            return (None, self.ledger);
        }
        // What goes out is our own; only of what comes in the sender has to be looked up.
        let of_peers = incoming
            .iter()
            .chain(routed.values().flat_map(|it| &it.limits));
        let sources = match of_peers.into_iter().any(|limit| looks_at_peer(limit)) {
            true => Sources::of(mesh),
            false => Sources::nobody(),
        };
        let limits = RateLimits {
            epoch: self.ledger.epoch,
            incoming: incoming.into(),
            routed,
            own: Arc::new(self.own()),
            sources,
        };
        (Some(limits), self.ledger)
    }

    fn own(&self) -> Source {
        let Perspective {
            viewer, principal, ..
        } = self.perspective;
        let labels = Arc::new(viewer.labels.clone());
        let name = &self.perspective.identity.workload;
        Source::new(Some(name), &viewer.namespace, labels, principal)
    }

    fn limits(&mut self, limiting: &Limiting<'_>) -> Vec<Arc<Limit>> {
        let meta = &limiting.resource.meta;
        let policy: Arc<str> = format!("{}/{}", meta.namespace, meta.name).into();
        let service = self.service(&policy, &meta.namespace, limiting.policy);
        let limits = limiting.policy.limits.iter();
        limits
            .map(|written| {
                let id = Arc::new(LimitId {
                    policy: Arc::clone(&policy),
                    limit: written.name.as_str().into(),
                });
                self.limit(id, written, service.as_ref())
            })
            .collect()
    }

    fn limit(
        &mut self,
        id: Arc<LimitId>,
        written: &Written,
        service: Option<&Arc<Service>>,
    ) -> Arc<Limit> {
        let numbers = Numbers {
            requests: written.requests,
            per: written.per,
            burst: written.burst,
        };
        let quota = self.quota(&id, &written.key, numbers, String::new(), service);
        let overrides = written
            .overrides
            .iter()
            .map(|over| self.override_(&id, &written.key, over, service))
            .collect();
        self.ledger.limits.insert(Arc::clone(&id));
        let mut limit = Limit {
            blocks: written.matches.iter().map(block).collect(),
            key: dimensions(&written.key),
            quota,
            overrides,
            looks_at_headers: false,
            counters: self.counters.of(&id),
            id,
        };
        limit.looks_at_headers = looks_at_headers(&limit);
        Arc::new(limit)
    }

    fn override_(
        &mut self,
        id: &Arc<LimitId>,
        key: &[String],
        written: &WrittenOverride,
        service: Option<&Arc<Service>>,
    ) -> Override {
        let conditions = written.dimensions.iter().filter_map(|(name, value)| {
            let dimension = Dimension::compile(name)?;
            let value = dimension.normalize(value);
            Some((dimension, value))
        });
        let conditions: Box<[(Dimension, Box<str>)]> = conditions.collect();
        let named: Vec<String> = conditions
            .iter()
            .map(|(dimension, value)| format!("{}={value:?}", dimension.name))
            .collect();
        let numbers = Numbers {
            requests: written.requests,
            per: written.per,
            burst: written.burst,
        };
        Override {
            quota: self.quota(id, key, numbers, named.join(","), service),
            conditions,
        }
    }

    fn quota(
        &mut self,
        id: &Arc<LimitId>,
        key: &[String],
        numbers: Numbers,
        of_override: String,
        service: Option<&Arc<Service>>,
    ) -> Quota {
        let requests = numbers.requests.unwrap_or(1).max(1);
        let per = numbers
            .per
            .map_or(Duration::from_secs(1), config::value::Duration::get);
        let burst = numbers.burst.unwrap_or(requests).max(1);
        let tally = match service {
            Some(service) => Tally::Shared {
                service: Arc::clone(service),
                unit: Unit::of(per).unwrap_or(Unit::Second),
            },
            None => self.tally(id, key, of_override, Rate::new(requests, per, burst)),
        };
        Quota {
            requests,
            per,
            burst,
            tally,
        }
    }

    /// The buckets that were there before, else new ones. Those that were there keep their numbers
    /// until the plan is in use.
    fn tally(
        &mut self,
        id: &Arc<LimitId>,
        key: &[String],
        of_override: String,
        rate: Rate,
    ) -> Tally {
        let account = Account {
            limit: Arc::clone(id),
            key: key.into(),
            of_override,
        };
        if key.is_empty() {
            let known = self.before.buckets.get(&account);
            let bucket = known.map_or_else(
                || Arc::new(Bucket::new(rate)),
                |(bucket, _)| Arc::clone(bucket),
            );
            let noted = (Arc::clone(&bucket), rate);
            self.ledger.buckets.insert(account, noted);
            return Tally::One(bucket);
        }
        let known = self.before.tables.get(&account);
        let table = known.map_or_else(
            || {
                let budget = Arc::clone(&self.ledger.budget);
                Arc::new(KeyTable::new(rate, self.counters.of(id).evicted, budget))
            },
            |(table, _)| Arc::clone(table),
        );
        let noted = (Arc::clone(&table), rate);
        self.ledger.tables.insert(account, noted);
        Tally::PerKey(table)
    }

    /// The service that counts for a policy, if it is not the proxy itself.
    fn service(
        &mut self,
        policy: &Arc<str>,
        namespace: &str,
        written: &RateLimitPolicy,
    ) -> Option<Arc<Service>> {
        let service = written.service.as_ref()?;
        match written.scope {
            Some(Scope::Shared) => {}
            Some(Scope::Local) | None => return None,
        }
        let name = self.mesh.resolve(&service.host, namespace);
        let port = u16::try_from(service.port).unwrap_or(0);
        let place = self.registry.service_place(self.mesh, &name, port);
        self.ledger.services.insert(Arc::clone(policy));
        let timeout = service.timeout.map(config::value::Duration::get);
        let domain = service.domain.as_deref().filter(|it| !it.is_empty());
        Some(Arc::new(Service {
            policy: Arc::clone(policy),
            place,
            domain: domain.unwrap_or(DOMAIN_DEFAULT).into(),
            timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
            denies: service.failure_mode == Some(FailureMode::Deny),
            results: self.counters.of_service(policy),
            standing: Standing::new(Instant::now()),
        }))
    }
}

/// How many may pass, as written.
struct Numbers {
    requests: Option<u32>,
    per: Option<config::value::Duration>,
    burst: Option<u32>,
}

fn dimensions(key: &[String]) -> Box<[Dimension]> {
    key.iter().filter_map(|it| Dimension::compile(it)).collect()
}

/// Dimensions by which a limit tells requests apart, and those of its overrides.
fn all_dimensions(limit: &Limit) -> impl Iterator<Item = &Dimension> {
    let conditions = limit.overrides.iter().flat_map(|over| &over.conditions);
    let in_override = conditions.map(|(dimension, _)| dimension);
    limit.key.iter().chain(in_override)
}

/// Whether a limit asks who sent a request.
fn looks_at_peer(limit: &Limit) -> bool {
    let in_block =
        |block: &Block| !block.source_labels.is_empty() || block.source_namespace.is_some();
    all_dimensions(limit).any(Dimension::is_of_peer) || limit.blocks.iter().any(in_block)
}

/// Whether a limit looks at a header.
fn looks_at_headers(limit: &Limit) -> bool {
    all_dimensions(limit).any(Dimension::is_header)
        || limit.blocks.iter().any(Block::looks_at_headers)
}
