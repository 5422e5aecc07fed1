//! What the control plane may do in a cluster.

use std::collections::BTreeSet;

use serde_json::Value;

use tests::chart::{NAMESPACE, VARIANTS, items, of_kind, render, texts};

/// Verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// Rules of all roles, with the kind of the role.
fn rules(objects: &[Value]) -> Vec<(&str, &Value)> {
    ["ClusterRole", "Role"]
        .into_iter()
        .flat_map(|kind| of_kind(objects, kind).map(move |role| (kind, role)))
        .flat_map(|(kind, role)| items(&role["rules"]).map(move |rule| (kind, rule)))
        .collect()
}

/// Each right by itself: kind of the role, verb, resource, and the names that it is limited to.
fn rights(objects: &[Value]) -> BTreeSet<(String, String, String, String)> {
    let mut found = BTreeSet::new();
    for (kind, rule) in rules(objects) {
        let names = texts(&rule["resourceNames"]).join(" ");
        for resource in texts(&rule["resources"]) {
            for verb in texts(&rule["verbs"]) {
                let right = [kind, verb, resource, &names];
                let [kind, verb, resource, names] = right.map(ToOwned::to_owned);
                found.insert((kind, verb, resource, names));
            }
        }
    }
    found
}

#[test]
fn no_right_is_given_by_a_wildcard() {
    for (what, settings) in VARIANTS {
        for (_, rule) in rules(&render(settings)) {
            for part in ["apiGroups", "resources", "verbs", "resourceNames"] {
                let part = &rule[part];
                assert!(
                    texts(part).iter().all(|it| !it.contains('*')),
                    "{what}: {rule}"
                );
            }
            assert_eq!(rule["nonResourceURLs"], Value::Null, "{what}: {rule}");
        }
    }
}

#[test]
fn what_may_be_changed_is_named() {
    let objects = render(&[]);

    let changing: Vec<String> = rights(&objects)
        .into_iter()
        .filter(|(_, verb, resource, _)| {
            !READING.contains(&verb.as_str()) && !resource.ends_with("/status")
        })
        .map(|(kind, verb, resource, names)| format!("{kind}: {verb} {resource} {names}"))
        .collect();

    assert_eq!(
        changing,
        [
            "ClusterRole: create configmaps istio-ca-root-cert",
            "ClusterRole: create tokenreviews ",
            "ClusterRole: patch configmaps istio-ca-root-cert",
            "ClusterRole: patch mutatingwebhookconfigurations meshcontrol-istio-system",
            "ClusterRole: patch validatingwebhookconfigurations meshcontrol-istio-system",
            "Role: create leases ",
            "Role: create secrets ",
            "Role: update leases meshcontrol",
            "Role: update secrets meshcontrol-ca",
        ]
    );
}

#[test]
fn status_is_written_of_exactly_what_is_read() {
    let rights = rights(&render(&[]));
    let with = |verb: &str| -> BTreeSet<String> {
        let is = |(kind, given, resource, _): &&(String, String, String, String)| {
            kind == "ClusterRole" && given == verb && resource.ends_with("/status")
        };
        let resources = rights.iter().filter(is);
        let named = resources.map(|(_, _, resource, _)| resource.replace("/status", ""));
        named.collect()
    };

    let written = with("patch");

    assert_eq!(written.len(), 10, "{written:?}");
    for resource in written {
        let read = |verb: &str| {
            let right = (
                "ClusterRole".into(),
                verb.into(),
                resource.clone(),
                String::new(),
            );
            rights.contains(&right)
        };
        assert!(READING.into_iter().all(read), "{resource}");
    }
}

#[test]
fn secrets_of_other_namespaces_are_read_only_where_that_is_allowed() {
    let reads_secrets = |objects: &[Value], kind: &str| -> Vec<String> {
        of_kind(objects, kind)
            .filter(|it| it["roleRef"]["name"] == format!("meshcontrol-secrets-{NAMESPACE}"))
            .map(|it| {
                it["metadata"]["namespace"]
                    .as_str()
                    .unwrap_or("")
                    .to_owned()
            })
            .collect()
    };
    let everywhere = render(&[]);
    let somewhere = render(&["secrets.namespaces={shop,edge}"]);

    assert_eq!(reads_secrets(&everywhere, "ClusterRoleBinding"), [""]);
    assert!(reads_secrets(&everywhere, "RoleBinding").is_empty());
    let with_gateway = render(&["secrets.namespaces={shop}", "gateway.enabled=true"]);
    assert!(reads_secrets(&somewhere, "ClusterRoleBinding").is_empty());
    assert_eq!(reads_secrets(&somewhere, "RoleBinding"), ["shop", "edge"]);
    assert_eq!(
        reads_secrets(&with_gateway, "RoleBinding"),
        ["shop", NAMESPACE]
    );
}

#[test]
fn all_rights_are_those_of_the_control_plane() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        let bindings =
            of_kind(&objects, "ClusterRoleBinding").chain(of_kind(&objects, "RoleBinding"));
        for binding in bindings {
            let subjects: Vec<&Value> = items(&binding["subjects"]).collect();
            assert_eq!(subjects.len(), 1, "{what}: {binding}");
            assert_eq!(subjects[0]["name"], "meshcontrol", "{what}: {binding}");
            assert_eq!(subjects[0]["namespace"], NAMESPACE, "{what}: {binding}");
        }
    }
}
