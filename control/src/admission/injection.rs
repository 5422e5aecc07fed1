//! How a pod is injected.

use super::patch;
use super::review::{Asked, Operation, Verdict};
use crate::inject::{Injector, Namespace, Outcome};

/// Injects a pod. What is no pod passes.
pub(super) fn judge(asked: &Asked, injector: &Injector) -> Verdict {
    let is_pod = asked.group.is_empty() && asked.kind == "Pod";
    if asked.operation != Operation::Create || !is_pod {
        return Verdict::allowed();
    }
    // Its labels are not told: the webhook's selectors have judged them.
    let namespace = Namespace {
        name: asked.namespace.clone(),
        labels: None,
    };
    match injector.inject(&asked.object, &namespace, None) {
        Ok(Outcome::Injected(injected)) => Verdict::Changed {
            patch: patch::between(&asked.object, &injected),
        },
        Ok(Outcome::Skipped(_)) => Verdict::allowed(),
        Err(mistake) => Verdict::Refused {
            message: mistake.to_string(),
            warnings: Vec::new(),
        },
    }
}
