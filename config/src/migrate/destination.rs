//! `DestinationPolicy` with its `circuitBreaker` and `loadBalancing` to `DestinationRule`.
//!
//! All policies of one service become one rule: those with labels one subset each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::documents::{Document, Retired};
use super::plan::Plan;
use super::specs;
use super::workloads::{Workloads, parts};
use crate::problem::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DestinationPolicy {
    destination: Destination,
    source: Option<Value>,
    load_balancing: Option<LoadBalancing>,
    circuit_breaker: Option<CircuitBreaker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Destination {
    name: String,
    namespace: String,
    domain: String,
    service: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadBalancing {
    name: Option<Algorithm>,
    custom: Option<Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Algorithm {
    RoundRobin,
    LeastConn,
    Random,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CircuitBreaker {
    simple_cb: SimpleCircuitBreaker,
    custom: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SimpleCircuitBreaker {
    max_connections: Option<i64>,
    http_max_pending_requests: Option<i64>,
    http_max_requests: Option<i64>,
    http_max_requests_per_connection: Option<i64>,
    http_max_retries: Option<i64>,
    http_consecutive_errors: Option<i64>,
    http_detection_interval: Option<String>,
    sleep_window: Option<String>,
    http_max_ejection_percent: Option<i64>,
}

/// What becomes one rule.
#[derive(Debug, Default)]
struct Rule {
    at: usize,
    policy: Map<String, Value>,
    subsets: Vec<Value>,
}

/// Converts all destination policies.
pub(super) fn convert(
    documents: &[Document],
    _: &Workloads,
    plan: &mut Plan,
) -> Result<(), Vec<Problem>> {
    let policies: Vec<(usize, DestinationPolicy)> =
        specs(documents, |it| it == Retired::DestinationPolicy)?;
    let mut rules: BTreeMap<(String, String), Rule> = BTreeMap::new();
    for (at, policy) in &policies {
        let Some(host) = policy.destination.host() else {
            plan.lose(*at, "names no destination");
            continue;
        };
        losses(*at, policy, plan);
        let key = (documents[*at].namespace.clone(), host);
        let rule = rules.entry(key).or_insert_with(|| Rule {
            at: *at,
            ..Rule::default()
        });
        let traffic = traffic(policy);
        let labels = &policy.destination.labels;
        match labels.is_empty() {
            true if rule.policy.is_empty() => rule.policy = traffic,
            true => plan.lose(*at, "another policy of the same destination counts"),
            false => {
                plan.note(*at, "counts for requests whose route names the subset");
                rule.subsets.push(json!({
                    "name": subset(labels),
                    "labels": labels,
                    "trafficPolicy": traffic,
                }));
            }
        }
    }
    for ((namespace, host), rule) in rules {
        if let Some(other) = documents
            .iter()
            .find(|it| is_rule_of(it, &namespace, &host))
        {
            let message = format!("merge it by hand with the DestinationRule {}", other.name);
            plan.lose(rule.at, message);
        }
        let (name, of) = parts(&host, &namespace);
        let name = match of == namespace {
            true => name.to_owned(),
            false => format!("{name}-{of}"),
        };
        let mut spec = Map::new();
        spec.insert("host".to_owned(), json!(host));
        if !rule.policy.is_empty() {
            spec.insert("trafficPolicy".to_owned(), rule.policy.into());
        }
        if !rule.subsets.is_empty() {
            spec.insert("subsets".to_owned(), rule.subsets.into());
        }
        let resource = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": { "name": name, "namespace": namespace },
            "spec": spec,
        });
        plan.make(rule.at, resource);
    }
    Ok(())
}

fn losses(at: usize, policy: &DestinationPolicy, plan: &mut Plan) {
    if policy.source.is_some() {
        plan.lose(
            at,
            "source: a DestinationRule counts for all callers of its namespace",
        );
    }
    let custom = |custom: &Option<Value>| custom.is_some();
    let load_balancing = policy.load_balancing.as_ref();
    let breaker = policy.circuit_breaker.as_ref();
    if load_balancing.is_some_and(|it| custom(&it.custom))
        || breaker.is_some_and(|it| custom(&it.custom))
    {
        plan.lose(at, "custom: there is no such field");
    }
}

fn traffic(policy: &DestinationPolicy) -> Map<String, Value> {
    let mut traffic = Map::new();
    let algorithm = policy.load_balancing.as_ref().and_then(|it| it.name);
    if let Some(algorithm) = algorithm {
        let simple = match algorithm {
            Algorithm::RoundRobin => "ROUND_ROBIN",
            Algorithm::LeastConn => "LEAST_REQUEST",
            Algorithm::Random => "RANDOM",
        };
        traffic.insert("loadBalancer".to_owned(), json!({ "simple": simple }));
    }
    if let Some(CircuitBreaker { simple_cb, .. }) = &policy.circuit_breaker {
        let tcp = written([("maxConnections", simple_cb.max_connections.map(Value::from))]);
        let http = written([
            (
                "http1MaxPendingRequests",
                simple_cb.http_max_pending_requests.map(Value::from),
            ),
            (
                "http2MaxRequests",
                simple_cb.http_max_requests.map(Value::from),
            ),
            (
                "maxRequestsPerConnection",
                simple_cb.http_max_requests_per_connection.map(Value::from),
            ),
            ("maxRetries", simple_cb.http_max_retries.map(Value::from)),
        ]);
        let pool = written([("tcp", tcp), ("http", http)]);
        let outliers = written([
            (
                "consecutive5xxErrors",
                simple_cb.http_consecutive_errors.map(Value::from),
            ),
            (
                "interval",
                simple_cb.http_detection_interval.clone().map(Value::from),
            ),
            (
                "baseEjectionTime",
                simple_cb.sleep_window.clone().map(Value::from),
            ),
            (
                "maxEjectionPercent",
                simple_cb.http_max_ejection_percent.map(Value::from),
            ),
        ]);
        for (name, value) in [("connectionPool", pool), ("outlierDetection", outliers)] {
            traffic.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    traffic
}

/// A mapping of what there is; `None` if there is nothing.
fn written<const N: usize>(fields: [(&str, Option<Value>); N]) -> Option<Value> {
    let fields = fields.into_iter();
    let there = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let map: Map<String, Value> = there.collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

/// The values of the labels, such as `v1`.
fn subset(labels: &BTreeMap<String, String>) -> String {
    labels.values().cloned().collect::<Vec<_>>().join("-")
}

fn is_rule_of(document: &Document, namespace: &str, host: &str) -> bool {
    let of = document.value.pointer("/spec/host").and_then(Value::as_str);
    document.kind() == "DestinationRule"
        && document.namespace == namespace
        && of.is_some_and(|of| parts(of, namespace) == parts(host, namespace))
}

// === impl Destination ===

impl Destination {
    fn host(&self) -> Option<String> {
        if !self.service.is_empty() {
            return Some(self.service.clone());
        }
        if self.name.is_empty() {
            return None;
        }
        Some(match (self.namespace.is_empty(), self.domain.is_empty()) {
            (true, true) => self.name.clone(),
            (true, false) => format!("{}.{}", self.name, self.domain),
            (false, true) => format!("{}.{}.svc.cluster.local", self.name, self.namespace),
            (false, false) => format!("{}.{}.{}", self.name, self.namespace, self.domain),
        })
    }
}
