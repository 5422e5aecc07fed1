//! Whether a pod gets a proxy, by Istio's rules.

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotation::{annotation, label};
use super::label::{INJECT, NAMESPACE_INJECTION, REVISION};
use super::{STATUS, Settings};

/// The namespace of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels. None where whoever asks has chosen by them already: an API server asks for pods that the
    /// selectors of the webhook choose, and a person for the pods of a file.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Why a pod gets no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// It has not even the shape of one.
    #[error("it is no pod")]
    Malformed,
    /// It has one.
    #[error("it was injected before")]
    Injected,
    /// It has no network of its own, so that all traffic of its node would be captured.
    #[error("it uses the network of its node")]
    HostNetwork,
    /// Nothing of these namespaces is touched: what runs there runs the cluster.
    #[error("nothing is injected in its namespace")]
    System,
    /// It says so.
    #[error("it asks for none")]
    Refused,
    /// Its namespace says so.
    #[error("its namespace asks for none")]
    Disabled,
    /// Neither it nor its namespace asks for one, or both ask another control plane.
    #[error("neither it nor its namespace asks for one of this control plane")]
    NotAsked,
}

/// Why a pod gets no proxy; none if it gets one.
pub(super) fn judge(pod: &Value, namespace: &Namespace, settings: &Settings) -> Option<Skip> {
    if !is_pod(pod) {
        return Some(Skip::Malformed);
    }
    if annotation(pod, STATUS).is_some() {
        return Some(Skip::Injected);
    }
    if pod["spec"]["hostNetwork"] == true {
        return Some(Skip::HostNetwork);
    }
    if settings.excluded_namespaces.contains(&namespace.name) {
        return Some(Skip::System);
    }
    // The label counts for more, because selectors of webhooks see only that.
    let wish = label(pod, INJECT).or_else(|| annotation(pod, INJECT));
    let wanted = wish.filter(|wish| !wish.is_empty()).map(says_yes);
    if wanted == Some(false) {
        return Some(Skip::Refused);
    }
    let labels = namespace.labels.as_ref()?;
    let of_namespace = |name: &str| labels.get(name).map(String::as_str);
    match of_namespace(NAMESPACE_INJECTION) {
        Some("disabled") => return Some(Skip::Disabled),
        Some("enabled") => return None,
        Some(_) | None => {}
    }
    let revision = of_namespace(REVISION).or_else(|| label(pod, REVISION));
    let asked = match revision {
        Some(revision) => revision == settings.revision,
        None => wanted == Some(true),
    };
    (!asked).then_some(Skip::NotAsked)
}

/// Whether all that is looked into has the shape that it has in pods.
fn is_pod(pod: &Value) -> bool {
    let is_mapping = |value: &Value| value.is_null() || value.is_object();
    let is_list = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        _ => false,
    };
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    spec.is_object()
        && [metadata, &metadata["labels"], &metadata["annotations"]]
            .into_iter()
            .all(is_mapping)
        && [&spec["initContainers"], &spec["containers"]]
            .into_iter()
            .all(is_list)
}

/// Whether a text means yes. What means neither yes nor no means no, as in Istio.
fn says_yes(text: &str) -> bool {
    ["y", "yes", "true", "on"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(pod: Value, labels: &[(&str, &str)]) -> Option<Skip> {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels: Some(labels.collect()),
        };
        judge(&pod, &namespace, &Settings::default())
    }

    fn plain() -> Value {
        json!({"spec": {}})
    }

    fn labelled(name: &str, value: &str) -> Value {
        json!({"metadata": {"labels": {name: value}}, "spec": {}})
    }

    #[test]
    fn the_namespace_asks_and_the_pod_may_refuse() {
        let enabled = [(NAMESPACE_INJECTION, "enabled")];

        assert_eq!(judged(plain(), &enabled), None);
        assert_eq!(judged(labelled(INJECT, "true"), &enabled), None);
        for no in ["false", "no", "off", "maybe"] {
            let refused = Some(Skip::Refused);
            assert_eq!(judged(labelled(INJECT, no), &enabled), refused, "{no}");
            let annotated = json!({"metadata": {"annotations": {INJECT: no}}, "spec": {}});
            assert_eq!(judged(annotated, &enabled), refused, "{no}");
        }
    }

    #[test]
    fn the_label_of_a_pod_counts_for_more_than_its_annotation() {
        let both = json!({"metadata": {"labels": {INJECT: "true"}, "annotations": {INJECT: "false"}}, "spec": {}});

        assert_eq!(judged(both, &[(NAMESPACE_INJECTION, "enabled")]), None);
    }

    #[test]
    fn a_pod_may_ask_where_its_namespace_says_nothing() {
        assert_eq!(judged(plain(), &[]), Some(Skip::NotAsked));
        assert_eq!(judged(labelled(INJECT, "true"), &[]), None);
        assert_eq!(judged(labelled(REVISION, "default"), &[]), None);
    }

    #[test]
    fn a_namespace_that_refuses_wins_over_its_pods() {
        let disabled = [(NAMESPACE_INJECTION, "disabled")];

        let judged = judged(labelled(INJECT, "true"), &disabled);
        assert_eq!(judged, Some(Skip::Disabled));
    }

    #[test]
    fn what_another_control_plane_looks_after_is_left_to_it() {
        let other = [(REVISION, "canary")];

        assert_eq!(judged(plain(), &other), Some(Skip::NotAsked));
        assert_eq!(
            judged(labelled(INJECT, "true"), &other),
            Some(Skip::NotAsked)
        );
        assert_eq!(judged(plain(), &[(REVISION, "default")]), None);
    }

    #[test]
    fn pods_that_run_the_cluster_or_share_its_network_are_left_alone() {
        let host = json!({"spec": {"hostNetwork": true}});
        assert_eq!(judged(host, &[]), Some(Skip::HostNetwork));

        let namespace = Namespace {
            name: "kube-system".to_owned(),
            labels: None,
        };
        let judged = judge(&plain(), &namespace, &Settings::default());
        assert_eq!(judged, Some(Skip::System));
    }
}
