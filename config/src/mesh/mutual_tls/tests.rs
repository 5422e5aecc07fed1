//! Istio's precedence, case by case.

use std::slice::from_ref;

use super::*;
use crate::mesh::fixture::{mesh, viewer};

/// A policy of namespace and name with a spec.
fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "kind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}"
    )
}

/// What a workload with `app=a` in `shop` takes at 80 and 90.
fn accepts(policies: &[String]) -> (Accepts, Accepts) {
    let found = mesh(&policies.join("\n---\n")).mutual_tls(&viewer("shop", &["app=a"]));
    (found.at(80), found.at(90))
}

const DISABLE: &str = "mtls: {mode: DISABLE}";
const PERMISSIVE: &str = "mtls: {mode: PERMISSIVE}";
const STRICT: &str = "mtls: {mode: STRICT}";
const UNSET: &str = "mtls: {mode: UNSET}";
const OURS: &str = "selector: {matchLabels: {app: a}}";
const THEIRS: &str = "selector: {matchLabels: {app: b}}";

fn same(accepts: Accepts) -> (Accepts, Accepts) {
    (accepts, accepts)
}

#[test]
fn without_a_policy_both_are_taken() {
    assert_eq!(
        accepts(&[policy("other", "a", STRICT)]),
        same(Accepts::Both)
    );
}

#[test]
fn the_workload_wins_over_the_namespace_and_that_over_the_mesh() {
    let of_mesh = policy("istio-system", "a", STRICT);
    let of_namespace = policy("shop", "a", DISABLE);
    let of_workload = policy("shop", "b", &format!("{OURS}, {PERMISSIVE}"));
    let of_another = policy("shop", "c", &format!("{THEIRS}, {STRICT}"));

    assert_eq!(accepts(from_ref(&of_mesh)), same(Accepts::MutualTls));
    assert_eq!(
        accepts(&[of_mesh.clone(), of_namespace.clone(), of_another.clone()]),
        same(Accepts::Plain)
    );
    assert_eq!(
        accepts(&[of_mesh, of_namespace, of_workload, of_another]),
        same(Accepts::Both)
    );
}

#[test]
fn what_is_unset_is_inherited() {
    let of_mesh = policy("istio-system", "a", STRICT);
    for unset in [UNSET, "mtls: {}", ""] {
        let of_namespace = policy("shop", "a", unset);
        let of_workload = policy("shop", "b", &[OURS, unset].join(", "));

        let found = accepts(&[of_mesh.clone(), of_namespace.clone(), of_workload.clone()]);
        assert_eq!(found, same(Accepts::MutualTls), "{unset}");
        assert_eq!(accepts(&[of_namespace, of_workload]), same(Accepts::Both));
    }
}

#[test]
fn of_one_level_the_oldest_wins() {
    let dated = |name, year, spec| {
        policy(
            "shop",
            &format!("{name}, creationTimestamp: '{year}-01-01T00:00:00Z'"),
            spec,
        )
    };

    assert_eq!(
        accepts(&[dated("a", 2025, DISABLE), dated("b", 2024, STRICT)]),
        same(Accepts::MutualTls)
    );
    assert_eq!(
        accepts(&[dated("a", 2024, DISABLE), dated("b", 2025, STRICT)]),
        same(Accepts::Plain)
    );
    // The oldest hides the others even if it says nothing.
    assert_eq!(
        accepts(&[dated("a", 2024, UNSET), dated("b", 2025, STRICT)]),
        same(Accepts::Both)
    );
}

#[test]
fn a_selector_in_the_root_namespace_selects_nobody() {
    let of_root = policy("istio-system", "a", &format!("{OURS}, {STRICT}"));

    assert_eq!(accepts(from_ref(&of_root)), same(Accepts::Both));
    let root = mesh(&of_root).mutual_tls(&viewer("istio-system", &["app=a"]));
    assert_eq!(root.every_port, Accepts::Both);
}

#[test]
fn a_selector_without_labels_is_for_the_namespace() {
    let empty = policy("shop", "a", &format!("selector: {{}}, {STRICT}"));
    let of_workload = policy("shop", "b", &format!("{OURS}, {DISABLE}"));

    assert_eq!(accepts(from_ref(&empty)), same(Accepts::MutualTls));
    assert_eq!(accepts(&[empty, of_workload]), same(Accepts::Plain));
}

#[test]
fn ports_have_a_mode_of_their_own_or_that_of_the_workload() {
    let of_namespace = policy("shop", "a", STRICT);
    let ports = |mode, port| format!("{OURS}, {mode}, portLevelMtls: {{'90': {{{port}}}}}");
    for (workload, port, expected) in [
        (
            DISABLE,
            "mode: STRICT",
            (Accepts::Plain, Accepts::MutualTls),
        ),
        (
            STRICT,
            "mode: DISABLE",
            (Accepts::MutualTls, Accepts::Plain),
        ),
        (PERMISSIVE, "mode: UNSET", (Accepts::Both, Accepts::Both)),
        (
            UNSET,
            "mode: PERMISSIVE",
            (Accepts::MutualTls, Accepts::Both),
        ),
        (UNSET, "", (Accepts::MutualTls, Accepts::MutualTls)),
    ] {
        let of_workload = policy("shop", "b", &ports(workload, port));

        assert_eq!(accepts(&[of_namespace.clone(), of_workload]), expected);
    }
}
