//! Retired documents as courses and users have them, and what becomes of them. Whatever comes out is
//! read by the rules of `meshproxy check`.

mod authentication;
mod quota;
mod rbac;

use std::path::Path;

use serde_json::Value;

use super::{Input, Migrated, migrate};
use crate::load::{parse, split_documents};
use crate::yaml;

/// Migrates one file, which must be readable.
fn migrated(text: &str) -> Migrated {
    let input = Input {
        path: Path::new("old.yaml"),
        text,
    };
    migrate(&[input], "default").unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The documents that come out, which must be right.
fn documents(text: &str) -> Vec<Value> {
    let migrated = migrated(text);
    let loaded = parse("new.yaml", &migrated.text, "default");
    let wrong: Vec<String> = loaded
        .problems
        .iter()
        // Whether a policy may be dry is another question.
        .filter(|it| it.severity == crate::Severity::Error && !it.path.contains("dry-run"))
        .map(ToString::to_string)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} in\n{}", migrated.text);
    let documents = split_documents(&migrated.text);
    let parsed = documents
        .iter()
        .map(|it| yaml::parse(it.text).expect("YAML"));
    parsed.collect()
}

/// `namespace/name` of each.
fn names(documents: &[Value]) -> Vec<String> {
    let text = |document: &Value, field: &str| {
        let value = document["metadata"][field].as_str();
        value.unwrap_or_default().to_owned()
    };
    let name = |document| format!("{}/{}", text(document, "namespace"), text(document, "name"));
    documents.iter().map(name).collect()
}

fn value(text: &str) -> Value {
    yaml::parse(text).expect("YAML")
}

fn losses(text: &str) -> Vec<String> {
    let notes = migrated(text).notes;
    let lost = notes.iter().filter(|note| note.is_loss);
    lost.map(ToString::to_string).collect()
}

#[test]
fn what_is_not_retired_passes_through_to_the_letter() {
    let text = "\
# What everybody may know.
apiVersion: networking.istio.io/v1
kind: VirtualService   # routes
metadata:
  name: 'a'
spec: {hosts: [a]}
---
# Not a service of ours.
kind: Deployment
---
foo: [1, 2]
";

    let migrated = migrated(text);

    assert_eq!(migrated.text, text);
    assert!(migrated.is_complete());
}

#[test]
fn comments_of_retired_documents_stay() {
    let migrated = migrated(
        "# The breaker of reviews.\n\
         apiVersion: config.istio.io/v1alpha2\n\
         kind: DestinationPolicy\n\
         metadata: {name: a}\n\
         spec: {destination: {name: reviews}, loadBalancing: {name: RANDOM}}\n\
         ---\n\
         # At the end.\n",
    );

    assert_eq!(
        migrated.text,
        "# The breaker of reviews.\n\
         apiVersion: networking.istio.io/v1\n\
         kind: DestinationRule\n\
         metadata:\n  name: reviews\n  namespace: default\n\
         spec:\n  host: reviews\n  trafficPolicy:\n    loadBalancer:\n      simple: RANDOM\n\
         # At the end.\n"
    );
}

#[test]
fn a_list_that_holds_a_retired_form_is_taken_apart() {
    let made = documents(
        "apiVersion: v1\nkind: List\nitems:\n\
         - apiVersion: rbac.istio.io/v1alpha1\n  kind: ClusterRbacConfig\n  metadata: {name: default}\n  spec: {mode: 'ON'}\n\
         - apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: 80}]}\n",
    );

    assert_eq!(names(&made), ["istio-system/deny-by-default", "/a"]);
}

#[test]
fn a_mistake_is_told_at_its_place_and_nothing_comes_out() {
    let input = Input {
        path: Path::new("old.yaml"),
        text: "kind: a\n---\napiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\n\
               metadata: {name: a}\nspec:\n  rules:\n  - service: ['*']\n---\na: [\n",
    };

    let problems = migrate(&[input], "default").expect_err("must be refused");

    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("old.yaml:10:"), "{problems:?}");
    let input = Input {
        text: input.text.trim_end_matches("---\na: [\n"),
        ..input
    };
    let problems = migrate(&[input], "default").expect_err("must be refused");
    let problem = problems[0].to_string();
    assert!(
        problem.starts_with("old.yaml:8:5: spec.rules[0].service: unknown field"),
        "{problem}"
    );
}

#[test]
fn a_breaker_becomes_limits_and_ejection() {
    let made = documents(
        "apiVersion: config.istio.io/v1alpha2\n\
         kind: DestinationPolicy\n\
         metadata: {name: reviews-cb}\n\
         spec:\n\
         \x20 destination: {name: reviews, labels: {version: v1}}\n\
         \x20 circuitBreaker:\n\
         \x20   simpleCb:\n\
         \x20     maxConnections: 1\n\
         \x20     httpMaxPendingRequests: 1\n\
         \x20     httpMaxRequestsPerConnection: 1\n\
         \x20     httpConsecutiveErrors: 2\n\
         \x20     httpDetectionInterval: 2s\n\
         \x20     sleepWindow: 3m\n\
         \x20     httpMaxEjectionPercent: 100\n\
         ---\n\
         apiVersion: config.istio.io/v1alpha2\n\
         kind: DestinationPolicy\n\
         metadata: {name: reviews-lb}\n\
         spec: {destination: {name: reviews}, loadBalancing: {name: LEAST_CONN}}\n",
    );

    let expected = value(
        "host: reviews\n\
         trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}\n\
         subsets:\n\
         - name: v1\n\
         \x20 labels: {version: v1}\n\
         \x20 trafficPolicy:\n\
         \x20   connectionPool:\n\
         \x20     tcp: {maxConnections: 1}\n\
         \x20     http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}\n\
         \x20   outlierDetection:\n\
         \x20     consecutive5xxErrors: 2\n\
         \x20     interval: 2s\n\
         \x20     baseEjectionTime: 3m\n\
         \x20     maxEjectionPercent: 100\n",
    );
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["spec"], expected);
}

#[test]
fn a_form_without_a_successor_is_named_as_a_loss() {
    let lost = losses(
        "apiVersion: config.istio.io/v1alpha2\nkind: metric\nmetadata: {name: a}\nspec: {}\n---\n\
         apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: b}\nspec: {}\n",
    );

    assert_eq!(
        lost,
        [
            "old.yaml:1: not carried over: metric default/a: was Mixer's and has no successor",
            "old.yaml:6: not carried over: RouteRule default/b: routes by rule: write a \
             VirtualService or a ServiceEntry instead",
        ]
    );
}
