//! Which limits a proxy keeps, and that what was used stays used over reloads.

use super::*;
use crate::rate_limit::buckets::{Bucket, KeyTable};
use crate::table::rate_limit::{Limit, RateLimits, Tally};

const RATINGS: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec: {hosts: [ratings.test], http: [{name: all, directResponse: {status: 200}}]}
";

/// A policy with one limit.
fn policy(head: &str, limit: &str) -> String {
    format!(
        "
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {{name: p}}
spec:
  {head}
  limits: [{{name: a, {limit}}}]
"
    )
}

fn limits(compiled: &Compiled) -> &RateLimits {
    compiled.table.limits.as_ref().expect("limits")
}

fn only(compiled: &Compiled) -> &Limit {
    let [only] = &*limits(compiled).incoming else {
        panic!("one limit of what comes in")
    };
    only
}

fn bucket(tally: &Tally) -> &Arc<Bucket> {
    match tally {
        Tally::One(bucket) => bucket,
        other => panic!("one bucket, not {other:?}"),
    }
}

fn table(tally: &Tally) -> &Arc<KeyTable> {
    match tally {
        Tally::PerKey(table) => table,
        other => panic!("a table, not {other:?}"),
    }
}

#[test]
fn a_mesh_without_policies_has_no_limits() {
    let other = policy(
        "selector: {matchLabels: {app: other}}",
        "requests: 1, per: 1s",
    );

    assert!(compiled(&[RATINGS]).table.limits.is_none());
    assert!(compiled(&[RATINGS, &other]).table.limits.is_none());
}

#[test]
fn what_was_used_stays_used_when_numbers_change_and_not_when_what_is_counted_changes() {
    let mut compiler = compiler();
    let over = "overrides: [{dimensions: {source.ip: 10.0.0.1}, requests: 1, per: 5s}]";
    let mut next = |limit: &str| compiler.compile(&mesh(&[&policy("selector: {}", limit)]));

    let first = next(&format!("requests: 5, per: 1s, {over}"));
    let second = next(&format!("requests: 9, per: 2s, burst: 3, {over}"));
    let keyed = next("requests: 9, per: 2s, key: [source.ip]");
    let keyed_again = next("requests: 8, per: 2s, key: [source.ip]");
    let by_another = next("requests: 8, per: 2s, key: [request.path]");

    let (first, second) = (only(&first), only(&second));
    let (old, new) = (bucket(&first.quota.tally), bucket(&second.quota.tally));
    assert!(Arc::ptr_eq(old, new));
    assert_eq!(new.left(u64::MAX / 8), 3);
    let of_override = |limit: &Limit| Arc::clone(bucket(&limit.overrides[0].quota.tally));
    assert!(Arc::ptr_eq(&of_override(first), &of_override(second)));
    assert!(!Arc::ptr_eq(&of_override(first), old));
    let tables = [&keyed, &keyed_again, &by_another].map(|it| table(&only(it).quota.tally));
    assert!(Arc::ptr_eq(tables[0], tables[1]));
    assert!(!Arc::ptr_eq(tables[1], tables[2]));
}

#[test]
fn other_numbers_are_for_what_was_used_before_once_they_are_in_use() {
    let mut compiler = compiler();
    let limit = |numbers: &str| mesh(&[&policy("selector: {}", numbers)]);
    let before = compiler.compile(&limit("requests: 10, per: 1h"));
    let now = limits(&before).now();
    let bucket = bucket(&only(&before).quota.tally);
    for _ in 0..10 {
        assert!(bucket.take(now).is_ok());
    }

    drop(compiler.plan(&limit("requests: 30, per: 1h"), &Certificates::default()));
    assert_eq!(bucket.left(now), 0, "a plan is not in use");
    for (numbers, left) in [
        ("requests: 10, per: 24h", 0),
        ("requests: 1, per: 1h, burst: 10", 0),
        ("requests: 1000, per: 1h", 990),
        ("requests: 15, per: 1h", 5),
    ] {
        compiler.compile(&limit(numbers));
        assert_eq!(bucket.left(limits(&before).now()), left, "{numbers}");
    }
}

#[test]
fn a_plan_that_is_dropped_keeps_the_buckets_of_the_generation_in_use() {
    let with = mesh(&[&policy("selector: {}", "requests: 5, per: 1s")]);
    let mut compiler = compiler();
    let before = compiler.compile(&with);

    drop(compiler.plan(&mesh(&[RATINGS]), &Certificates::default()));
    let after = compiler.compile(&with);

    let buckets = [&before, &after].map(|it| bucket(&only(it).quota.tally));
    assert!(Arc::ptr_eq(buckets[0], buckets[1]));
}

#[test]
fn a_limit_of_a_virtual_service_is_for_its_rules() {
    let target = "targetRefs:
  - {group: networking.istio.io, kind: VirtualService, name: ratings}";
    let other = RATINGS.replace("ratings", "other");
    let compiled = compiled(&[RATINGS, &other, &policy(target, "requests: 1, per: 1s")]);
    let listener = only_listener(&compiled);
    let limits_of = |name: &str| {
        let host = host(listener, name);
        let route = &host.rules.iter().next().expect("a rule").route;
        limits(&compiled).routed(route).len()
    };

    assert_eq!((limits_of("ratings.test"), limits_of("other.test")), (1, 0));
    assert!(limits(&compiled).incoming.is_empty());
}

#[test]
fn limits_that_are_gone_are_gone_from_metrics() {
    let metrics = Metrics::new(Identity::unknown(), 100);
    let mut compiler = Compiler::new(perspective(), Arc::clone(&metrics));
    let shown = || {
        let text = metrics.text(std::time::Instant::now());
        text.contains("meshproxy_rate_limited_total{limit=\"a\",policy=\"default/p\"} 0")
    };

    compiler.compile(&mesh(&[&policy("selector: {}", "requests: 5, per: 1s")]));
    assert!(shown());
    compiler.compile(&mesh(&[RATINGS]));
    assert!(!shown());
}

#[test]
fn a_plan_that_is_dropped_leaves_metrics_as_they_were() {
    let shared = |limit: &str| {
        let head = "selector: {}
  scope: SHARED
  service: {host: counts.test, port: 80}";
        let written = policy(head, "requests: 5, per: 1s");
        written.replace("name: a", &format!("name: {limit}"))
    };
    let metrics = Metrics::new(Identity::unknown(), 100);
    let mut compiler = Compiler::new(perspective(), Arc::clone(&metrics));
    let shown = || metrics.text(std::time::Instant::now());
    compiler.compile(&mesh(&[&policy("selector: {}", "requests: 5, per: 1s")]));
    let before = shown();

    let other = mesh(&[&shared("b")]);
    drop(compiler.plan(&other, &Certificates::default()));

    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("rate_limit"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(series(&shown()), series(&before));
    compiler.compile(&other);
    assert!(shown().contains("meshproxy_rate_limited_total{limit=\"b\",policy=\"default/p\"} 0"));
}
