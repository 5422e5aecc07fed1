//! For whom a security policy is: workloads by labels, or resources by name, and not both.

use crate::decode::words::quote;
use crate::resource::Metadata;
use crate::resource::selector::{LabelSelector, TargetRef};
use crate::validate::field;
use crate::validate::findings::Findings;

/// Most resources that a policy may name.
const TARGETS_MAX: usize = 16;

/// Checks `selector`, `targetRef` and `targetRefs`.
pub(crate) fn check(
    selector: Option<&LabelSelector>,
    target: Option<&TargetRef>,
    targets: &[TargetRef],
    meta: &Metadata,
    f: &mut Findings,
) {
    if let Some(selector) = selector {
        f.field("selector", |f| {
            if selector.match_labels.is_empty() {
                f.warn("has no labels, so that it selects every workload");
            }
            field::labels("matchLabels", &selector.match_labels, f);
        });
    }
    let written = [selector.is_some(), target.is_some(), !targets.is_empty()];
    if written.iter().filter(|it| **it).count() > 1 {
        f.error("must have only one of selector, targetRef and targetRefs");
    }
    if targets.len() > TARGETS_MAX {
        f.error_in(
            "targetRefs",
            format!("must have at most {TARGETS_MAX} items"),
        );
    }
    if let Some(target) = target {
        f.field("targetRef", |f| check_target(target, meta, f));
    }
    f.each("targetRefs", targets, |f, target| {
        check_target(target, meta, f)
    });
}

fn check_target(target: &TargetRef, meta: &Metadata, f: &mut Findings) {
    for (name, value) in [("kind", &target.kind), ("name", &target.name)] {
        if value.is_empty() {
            f.error_in(name, "is required");
        }
    }
    if !target.namespace.is_empty() && target.namespace != meta.namespace {
        let message = format!(
            "must be that of the policy, got {}",
            quote(&target.namespace)
        );
        f.error_in("namespace", message);
    }
}
