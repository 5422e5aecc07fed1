//! `/limits`: how many requests may pass, and how much of that is used.

use serde_json::{Map, Value, json};

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
    if let Tally::PerKey { table, .. } = &limit.quota.tally {
        described["keysInUse"] = json!(table.used(now));
        described["keyBytes"] = json!(table.bytes());
        described["keysEvicted"] = json!(table.evicted());
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

/// `left` is what may pass at this moment, where there is one bucket for all.
fn quota(quota: &Quota, now: u64) -> Value {
    let (scope, left) = match &quota.tally {
        Tally::One(bucket) => ("LOCAL", Some(quota.rate.left(bucket.full_at(), now))),
        Tally::PerKey { .. } => ("LOCAL", None),
        Tally::Shared { .. } => ("SHARED", None),
    };
    json!({
        "requests": quota.requests,
        "per": format!("{:?}", quota.per),
        "burst": quota.burst,
        "scope": scope,
        "left": left,
    })
}
