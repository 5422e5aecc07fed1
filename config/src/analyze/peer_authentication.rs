//! Policies about mutual TLS that do nothing because of where they are, or of others.

use std::sync::Arc;

use super::{Context, Report, key};
use crate::resource::Resource;
use crate::resource::peer_authentication::PeerAuthentication;

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    policy: &PeerAuthentication,
    report: &mut Report,
) {
    let mesh = context.mesh;
    let Some(level) = mesh.peer_policy_level(resource, policy) else {
        let message = format!(
            "has no effect in namespace \"{}\", whose policies are for the whole mesh",
            resource.meta.namespace
        );
        return report.warn(resource, "spec.selector", message);
    };
    let is_rival = |other: &Arc<Resource>, it: &PeerAuthentication| {
        other.meta.namespace == resource.meta.namespace
            && mesh.peer_policy_level(other, it) == Some(level)
            && labels(it) == labels(policy)
    };
    // They come in the order of precedence: the first is the one that counts.
    let mut all = mesh.peer_authentications();
    let first = all.find(|(other, it)| is_rival(other, it));
    if let Some((first, _)) = first.filter(|(first, _)| !Arc::ptr_eq(first, resource)) {
        let message = format!(
            "has no effect: {} takes precedence for the same workloads",
            key(first)
        );
        report.warn(resource, "spec", message);
    }
}

/// None for those of whole namespaces.
fn labels(policy: &PeerAuthentication) -> Option<&std::collections::BTreeMap<String, String>> {
    let selector = policy.selector.as_ref()?;
    Some(&selector.match_labels).filter(|labels| !labels.is_empty())
}
