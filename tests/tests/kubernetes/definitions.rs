//! Definitions of kinds as other people's clusters have them: of some versions only, and such that let
//! everything pass.

use serde_json::{Value, json};

/// A definition of `kind` that serves `versions`, the first of which is stored.
pub(crate) fn loose(group: &str, kind: &str, plural: &str, versions: &[&str]) -> String {
    let schema = json!({"openAPIV3Schema": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    }});
    let version = |(index, name): (usize, &&str)| {
        json!({
            "name": name,
            "served": true,
            "storage": index == 0,
            "schema": schema,
            "subresources": {"status": {}},
        })
    };
    let versions: Vec<Value> = versions.iter().enumerate().map(version).collect();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": versions,
        },
    });
    definition.to_string()
}

/// One of VirtualService under these versions.
pub(crate) fn virtual_services(versions: &[&str]) -> String {
    loose(
        "networking.istio.io",
        "VirtualService",
        "virtualservices",
        versions,
    )
}
