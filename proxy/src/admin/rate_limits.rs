//! `/limits`: how many requests may pass, and how much of that is used.

use serde_json::{Map, Value, json};

use crate::rate_limit::buckets::KeyTable;
use crate::table::Table;
use crate::table::rate_limit::{Limit, Quota, RateLimits, Tally};

/// All limits of this proxy, by policy and name.
pub(super) fn rate_limits(table: &Table) -> Vec<Value> {
    let describe_all = |limits: &RateLimits| {
        let now = limits.now();
        let all = limits.all();
        all.iter().map(|limit| describe(limit, now)).collect()
    };
    table.limits.as_ref().map_or_else(Vec::new, describe_all)
}

fn describe(limit: &Limit, now: u64) -> Value {
    let names = limit.key.iter().map(|dimension| &*dimension.name);
    let mut described = json!({
        "policy": &*limit.id.policy,
        "limit": &*limit.id.limit,
        "key": names.collect::<Vec<_>>(),
        "quota": quota(&limit.quota, now),
        "allowed": limit.counters.allowed.get(),
        "limited": limit.counters.limited.get(),
    });
    let tables = tables(limit);
    if !tables.is_empty() {
        let sum = |of: &dyn Fn(&KeyTable) -> usize| tables.iter().copied().map(of).sum::<usize>();
        described["keysInUse"] = json!(sum(&|table| table.used(now)));
        described["keyBytes"] = json!(sum(&KeyTable::bytes));
        described["keysEvicted"] = json!(limit.counters.evicted.get());
    }
    let overrides = limit.overrides.iter().map(|over| {
        let conditions = over.conditions.iter();
        let dimensions: Map<String, Value> = conditions
            .map(|(dimension, value)| (dimension.name.to_string(), json!(&**value)))
            .collect();
        json!({"dimensions": dimensions, "quota": quota(&over.quota, now)})
    });
    described["overrides"] = overrides.collect();
    described
}

/// Tables of the keys of a limit and of its overrides.
fn tables(limit: &Limit) -> Vec<&KeyTable> {
    let of_overrides = limit.overrides.iter().map(|over| &over.quota);
    let quotas = std::iter::once(&limit.quota).chain(of_overrides);
    fn table(quota: &Quota) -> Option<&KeyTable> {
        match &quota.tally {
            Tally::PerKey(table) => Some(table),
            Tally::One(_) | Tally::Shared { .. } => None,
        }
    }
    quotas.filter_map(table).collect()
}

/// `left` is what may pass at this moment, where there is one bucket for all.
fn quota(quota: &Quota, now: u64) -> Value {
    let (scope, left, answers) = match &quota.tally {
        Tally::One(bucket) => ("LOCAL", Some(bucket.left(now)), None),
        Tally::PerKey(_) => ("LOCAL", None, None),
        Tally::Shared { service, .. } => ("SHARED", None, Some(service.standing.answers())),
    };
    json!({
        "requests": quota.requests,
        "per": format!("{:?}", quota.per),
        "burst": quota.burst,
        "scope": scope,
        "left": left,
        "serviceAnswers": answers,
    })
}
