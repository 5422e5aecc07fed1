//! Quotas of Mixer (handler, instance, `QuotaSpec`, `QuotaSpecBinding` and `rule`) to
//! `RateLimitPolicy`.
//!
//! Mixer counted in one place for the whole mesh, by dimensions that expressions found in both sides of
//! a request. A policy stands at the workloads of one service, so that the dimensions of the destination
//! choose which policy an override goes to, and those of the source become the key.

mod dimension;
mod written;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::documents::{Document, Retired};
use super::plan::Plan;
use super::specs;
use super::workloads::{Target, Workloads};
use crate::problem::Problem;
use dimension::Dimensions;
use written::{
    Amount, Handler, Instance, Overridden, QuotaSpec, QuotaSpecBinding, Reference, Rule,
};

/// All documents that are about quotas.
struct Quotas<'d> {
    documents: &'d [Document],
    handlers: Vec<(usize, Handler)>,
    instances: Vec<(usize, Instance)>,
    specs: Vec<(usize, QuotaSpec)>,
    bindings: Vec<(usize, QuotaSpecBinding)>,
    rules: Vec<(usize, Rule)>,
}

/// Converts all documents that are about quotas.
pub(super) fn convert(
    documents: &[Document],
    workloads: &Workloads,
    plan: &mut Plan,
) -> Result<(), Vec<Problem>> {
    let is_handler = |it| matches!(it, Retired::MemoryQuota | Retired::RedisQuota);
    let quotas = Quotas {
        documents,
        handlers: specs(documents, is_handler)?,
        instances: specs(documents, |it| it == Retired::Quota)?,
        specs: specs(documents, |it| it == Retired::QuotaSpec)?,
        bindings: specs(documents, |it| it == Retired::QuotaSpecBinding)?,
        rules: specs(documents, |it| it == Retired::MixerRule)?,
    };
    quotas.losses(plan);
    // Limits of one service, from all that is bound to it.
    let mut by_service: BTreeMap<(String, String), (usize, Vec<Value>)> = BTreeMap::new();
    for (at, binding) in &quotas.bindings {
        for service in &binding.services {
            let home = &documents[*at].namespace;
            let (name, namespace) = service.parts(home);
            let key = (namespace.to_owned(), name.to_owned());
            let limits = by_service.entry(key).or_insert_with(|| (*at, Vec::new()));
            for spec in &binding.quota_specs {
                limits.1.extend(quotas.limits(*at, spec, name, plan));
            }
        }
    }
    for ((namespace, name), (at, limits)) in by_service {
        if limits.is_empty() {
            continue;
        }
        let target = match &*name {
            "*" => Target::all(),
            name => workloads.target(&namespace, name),
        };
        if let Some(doubt) = target.doubt() {
            plan.note(at, doubt);
        }
        plan.note(
            at,
            "each proxy counts by itself: with N replicas N times as many may pass",
        );
        let named = target.service.as_deref().unwrap_or("all");
        let mut spec = Map::new();
        target.select(&mut spec);
        spec.insert("limits".to_owned(), limits.into());
        let resource = json!({
            "apiVersion": "policy.meshproxy.io/v1alpha1",
            "kind": "RateLimitPolicy",
            "metadata": { "name": named, "namespace": namespace },
            "spec": spec,
        });
        plan.make(at, resource);
    }
    Ok(())
}

// === impl Quotas ===

impl Quotas<'_> {
    /// Says what nobody is limited by, and what has no successor.
    fn losses(&self, plan: &mut Plan) {
        for (at, rule) in &self.rules {
            let condition = rule.condition.trim();
            let is_quota = rule.actions.iter().any(|action| {
                let named = |name: &String| self.instance(*at, name).is_some();
                action.instances.iter().any(named)
            });
            match (is_quota, condition.is_empty() || condition == "true") {
                (true, true) => {}
                (true, false) => plan.lose(
                    *at,
                    format!("match: {condition}: the limits count for all requests"),
                ),
                (false, _) => plan.lose(*at, "was Mixer's and has no successor"),
            }
        }
        for (at, _) in &self.handlers {
            if self.documents[*at].retired == Some(Retired::RedisQuota) {
                plan.lose(
                    *at,
                    "the count in Redis: set scope SHARED and name a rate-limit service to count for \
                     all proxies together",
                );
            }
            if self.bindings.is_empty() {
                plan.lose(
                    *at,
                    "no QuotaSpecBinding among the files says whom it limits",
                );
            }
        }
    }

    /// The limits that a quota spec puts on a service.
    fn limits(&self, at: usize, spec: &Reference, service: &str, plan: &mut Plan) -> Vec<Value> {
        let home = &self.documents[at].namespace;
        let found = self.specs.iter().find(|(spec_at, _)| {
            let document = &self.documents[*spec_at];
            document.name == spec.name && document.namespace == spec.namespace_or(home)
        });
        let Some((spec_at, found)) = found else {
            plan.lose(
                at,
                format!("its QuotaSpec {} is not among the files", spec.name),
            );
            return Vec::new();
        };
        let mut limits = Vec::new();
        for rule in &found.rules {
            if !rule.matches.is_empty() {
                plan.lose(*spec_at, "match: the limits count for all requests");
            }
            for charge in &rule.quotas {
                if charge.charge.is_some_and(|charge| charge != 1) {
                    plan.lose(*spec_at, "charge: each request counts once");
                }
                limits.extend(self.limit(*spec_at, &charge.quota, service, plan));
            }
        }
        limits
    }

    fn limit(&self, at: usize, quota: &str, service: &str, plan: &mut Plan) -> Option<Value> {
        let Some((instance_at, instance)) = self.instance(at, quota) else {
            plan.lose(at, format!("its quota {quota} is not among the files"));
            return None;
        };
        let Some(amount) = self.amount(instance_at) else {
            plan.lose(
                at,
                format!("no handler among the files has an amount for {quota}"),
            );
            return None;
        };
        let dimensions = Dimensions::of(instance.dimensions(), |message| {
            plan.lose(instance_at, message);
        });
        let mut numbers = (amount.max_amount, amount.valid_duration.as_deref());
        let mut overrides = Vec::new();
        for other in &amount.overrides {
            let per = other
                .valid_duration
                .as_deref()
                .or(amount.valid_duration.as_deref());
            match Overriding::of(other, service, &dimensions) {
                Ok(Overriding::Elsewhere) => {}
                Ok(Overriding::All) => {
                    numbers = (other.max_amount, per);
                    // The first that fits counts.
                    break;
                }
                Ok(Overriding::Some(values)) => {
                    let mut written = Map::new();
                    written.insert("dimensions".to_owned(), Value::Object(values));
                    put(&mut written, (other.max_amount, per));
                    overrides.push(Value::Object(written));
                }
                Err(reason) => plan.lose(instance_at, reason),
            }
        }
        let mut limit = Map::new();
        let name = &self.documents[instance_at].name;
        limit.insert("name".to_owned(), json!(name));
        put(&mut limit, numbers);
        if !dimensions.key().is_empty() {
            limit.insert("key".to_owned(), json!(dimensions.key()));
        }
        if !overrides.is_empty() {
            limit.insert("overrides".to_owned(), overrides.into());
        }
        Some(Value::Object(limit))
    }

    /// The instance that a name means, seen from a document: `NAME`, `NAME.quota` or
    /// `NAME.quota.NAMESPACE`.
    fn instance(&self, at: usize, name: &str) -> Option<(usize, &Instance)> {
        let home = &self.documents[at].namespace;
        let mut parts = name.split('.');
        let name = parts.next()?;
        let namespace = parts.find(|part| *part != "quota" && *part != "instance");
        let namespace = namespace.unwrap_or(home);
        let found = self.instances.iter().find(|(at, _)| {
            let document = &self.documents[*at];
            document.name == name && document.namespace == namespace
        });
        found.map(|(at, instance)| (*at, instance))
    }

    /// The amount of an instance, from whichever handler has one.
    fn amount(&self, instance_at: usize) -> Option<&Amount> {
        let all = self.handlers.iter().flat_map(|(at, handler)| {
            let amounts = handler.quotas().iter();
            amounts.map(move |amount| (*at, amount))
        });
        let mut meant = all.filter(|(at, amount)| {
            let found = self.instance(*at, &amount.name);
            found.is_some_and(|(found, _)| found == instance_at)
        });
        meant.next().map(|(_, amount)| amount)
    }
}

/// Writes how many requests may come in which time.
fn put(limit: &mut Map<String, Value>, (requests, per): (u64, Option<&str>)) {
    limit.insert("requests".to_owned(), json!(requests));
    limit.insert("per".to_owned(), json!(per.unwrap_or("1s")));
}

/// Whom an override is about, seen from the policy of one service.
enum Overriding {
    /// Another service.
    Elsewhere,
    /// All requests to the service.
    All,
    /// Those of which the dimensions have these values.
    Some(Map<String, Value>),
}

// === impl Overriding ===

impl Overriding {
    /// # Errors
    ///
    /// What cannot be said today.
    fn of(other: &Overridden, service: &str, dimensions: &Dimensions) -> Result<Self, String> {
        let mut values = Map::new();
        for (name, value) in &other.dimensions {
            if dimensions.is_service(name) {
                match (service, value == service) {
                    ("*", _) => {
                        return Err(format!("an override for {value}: bind it to that service"));
                    }
                    (_, false) => return Ok(Self::Elsewhere),
                    (_, true) => continue,
                }
            }
            match dimensions.named(name) {
                Some(dimension) => values.insert(dimension.to_owned(), json!(value)),
                None => return Err(format!("an override by {name}")),
            };
        }
        match values.is_empty() {
            true => Ok(Self::All),
            false => Ok(Self::Some(values)),
        }
    }
}
