//! The workload that a pod belongs to, by its name.

use serde_json::Value;

use super::annotation::label;
use super::label::{CANONICAL_NAME, CANONICAL_REVISION};

/// The name of the workload: what made the pod, or made what made it.
pub(super) fn name(pod: &Value) -> String {
    let metadata = &pod["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let mut controllers = owners.filter(|owner| owner["controller"] == true);
    if let Some(owner) = controllers.next()
        && let Some(name) = owner["name"].as_str()
    {
        return match owner["kind"].as_str() {
            Some("ReplicaSet") => without_hash(pod, name).to_owned(),
            Some("Job") => without_time(name).to_owned(),
            Some(_) | None => name.to_owned(),
        };
    }
    let name = metadata["name"].as_str().filter(|name| !name.is_empty());
    let generated = || metadata["generateName"].as_str().unwrap_or_default();
    name.unwrap_or_else(|| generated().trim_end_matches('-'))
        .to_owned()
}

/// The application, by which telemetry calls it.
pub(super) fn canonical_name(pod: &Value, workload: &str) -> String {
    let labels = [CANONICAL_NAME, "app.kubernetes.io/name", "app"];
    first_label(pod, &labels).unwrap_or(workload).to_owned()
}

/// Which version of the application.
pub(super) fn canonical_revision(pod: &Value) -> String {
    let labels = [CANONICAL_REVISION, "app.kubernetes.io/version", "version"];
    first_label(pod, &labels).unwrap_or("latest").to_owned()
}

fn first_label<'p>(pod: &'p Value, labels: &[&str]) -> Option<&'p str> {
    let mut values = labels.iter().filter_map(|name| label(pod, name));
    values.find(|value| !value.is_empty())
}

/// The name of a `Deployment` from that of its `ReplicaSet`.
fn without_hash<'n>(pod: &Value, name: &'n str) -> &'n str {
    let hash = label(pod, "pod-template-hash");
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    deployment.unwrap_or(name)
}

/// The name of a `CronJob` from that of its `Job`, which ends with the minute that it was due.
fn without_time(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((job, due)) if due.len() >= 8 && due.bytes().all(|it| it.is_ascii_digit()) => job,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(kind: &str, name: &str) -> Value {
        json!({"metadata": {
            "generateName": format!("{name}-"),
            "labels": {"pod-template-hash": "6d5f8c"},
            "ownerReferences": [{"kind": kind, "name": name, "controller": true}],
        }})
    }

    #[test]
    fn a_workload_is_what_people_made() {
        for (kind, owner, workload) in [
            ("ReplicaSet", "reviews-v1-6d5f8c", "reviews-v1"),
            ("ReplicaSet", "alone", "alone"),
            ("StatefulSet", "db", "db"),
            ("Job", "report-29012345", "report"),
            ("Job", "migrate-v2", "migrate-v2"),
        ] {
            assert_eq!(name(&owned(kind, owner)), workload, "{kind} {owner}");
        }
        assert_eq!(name(&json!({"metadata": {"name": "pod"}})), "pod");
        assert_eq!(name(&json!({"metadata": {"generateName": "pod-"}})), "pod");
    }

    #[test]
    fn an_application_is_named_by_the_label_that_says_most() {
        let pod = json!({"metadata": {"labels": {"app": "a", "app.kubernetes.io/name": "b", "version": "v1"}}});

        assert_eq!(canonical_name(&pod, "w"), "b");
        assert_eq!(canonical_revision(&pod), "v1");
        assert_eq!(canonical_name(&json!({}), "w"), "w");
        assert_eq!(canonical_revision(&json!({})), "latest");
    }
}
