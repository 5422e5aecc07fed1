//! Documents that make pods: where the pod stands in each kind.

use serde_json::Value;

use super::{Injector, Mistake, Namespace, Outcome, Skip};

/// Deepest nesting of lists in lists.
const LISTS_MAX: usize = 4;

/// What became of a document.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Pods that have a proxy now.
    pub(super) injected: usize,
    /// Documents whose pods get none, and why.
    pub(super) skipped: Vec<(String, Skip)>,
    /// Annotations that do not say what they should.
    pub(super) mistakes: Vec<(String, Mistake)>,
}

/// The steps from a document to the pod that it makes; none if it makes none.
fn steps(document: &Value) -> Option<&'static [&'static str]> {
    let api = document["apiVersion"].as_str()?;
    match (api, document["kind"].as_str()?) {
        ("v1", "Pod") => Some(&[]),
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job")
        | ("v1", "ReplicationController") => Some(&["spec", "template"]),
        ("batch/v1", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Injects the pods that a document makes; a list is a document for each of its items.
pub(super) fn inject(
    document: &mut Value,
    injector: &Injector,
    namespaces: &dyn Fn(&str) -> Namespace,
    report: &mut Report,
) {
    inject_at(document, injector, namespaces, report, 0);
}

fn inject_at(
    document: &mut Value,
    injector: &Injector,
    namespaces: &dyn Fn(&str) -> Namespace,
    report: &mut Report,
    depth: usize,
) {
    let is_list = document["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    if let (true, true, Some(Value::Array(items))) =
        (is_list, depth < LISTS_MAX, document.get_mut("items"))
    {
        for item in items {
            inject_at(item, injector, namespaces, report, depth + 1);
        }
        return;
    }
    let Some(steps) = steps(document) else {
        return;
    };
    let metadata = &document["metadata"];
    let namespace = namespaces(metadata["namespace"].as_str().unwrap_or_default());
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let kind = document["kind"].as_str().unwrap_or_default();
    let label = format!("{kind} {}/{name}", namespace.name);
    // Pods that nothing made name their workload themselves.
    let workload = (!steps.is_empty()).then_some(name);
    let pod = steps
        .iter()
        .try_fold(document, |at, step| at.get_mut(*step));
    let Some(pod) = pod.filter(|pod| pod.is_object()) else {
        return;
    };
    match injector.inject(pod, &namespace, workload.as_deref()) {
        Ok(Outcome::Injected(injected)) => {
            *pod = injected;
            report.injected += 1;
        }
        Ok(Outcome::Skipped(skip)) => report.skipped.push((label, skip)),
        Err(mistake) => report.mistakes.push((label, mistake)),
    }
}
