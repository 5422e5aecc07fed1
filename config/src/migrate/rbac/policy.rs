//! An `AuthorizationPolicy` as a document.

use serde_json::{Map, Value, json};

use super::super::workloads::Target;

/// The name of a policy for a target.
pub(super) fn name(base: &str, target: &Target) -> String {
    match &target.service {
        Some(service) => format!("{base}-{service}"),
        None => base.to_owned(),
    }
}

/// A policy that allows what `rules` match; without rules it allows nothing.
pub(super) fn of(
    name: &str,
    namespace: &str,
    target: &Target,
    rules: Option<Vec<Value>>,
    dry_run: bool,
) -> Value {
    let mut metadata = json!({ "name": name, "namespace": namespace });
    if dry_run {
        metadata["annotations"] = json!({ "istio.io/dry-run": "true" });
    }
    let mut spec = Map::new();
    target.select(&mut spec);
    if let Some(rules) = rules {
        spec.insert("action".to_owned(), json!("ALLOW"));
        spec.insert("rules".to_owned(), rules.into());
    }
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": spec,
    })
}
