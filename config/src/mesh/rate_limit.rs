//! Which `RateLimitPolicy` resources concern a proxy, and which of its requests.

use std::sync::Arc;

use super::{Mesh, Viewer};
use crate::resource::rate_limit_policy::RateLimitPolicy;
use crate::resource::{Resource, Spec};

/// A policy that concerns a viewer.
#[derive(Debug, Clone)]
pub struct Limiting<'m> {
    /// The policy with its name and place.
    pub resource: &'m Arc<Resource>,
    /// The same, typed.
    pub policy: &'m RateLimitPolicy,
    /// Requests that it limits.
    pub subject: Subject<'m>,
}

/// Requests that a policy limits.
#[derive(Debug, Clone)]
pub enum Subject<'m> {
    /// Those that come to the viewer: to its workload, or to its gateways.
    Incoming,
    /// Those that meet a rule of one of these `VirtualService` resources.
    Routed(Vec<&'m Arc<Resource>>),
}

impl Mesh {
    /// Policies that concern the viewer, the one that takes precedence first: of its namespace or the
    /// root namespace those that select its labels, and all that target a `VirtualService`, which
    /// counts wherever its rules do.
    pub fn rate_limits<'m>(&'m self, viewer: &Viewer) -> impl Iterator<Item = Limiting<'m>> {
        let resources = self.kinds.rate_limit_policies.iter();
        resources.filter_map(move |resource| {
            let Spec::RateLimitPolicy(policy) = &resource.spec else {
                return None;
            };
            let subject = match policy.target_refs.is_empty() {
                true => self
                    .selects_workload(resource, policy.selector.as_ref(), viewer)
                    .then_some(Subject::Incoming)?,
                false => Subject::Routed(self.targets(resource, policy)),
            };
            Some(Limiting {
                resource,
                policy,
                subject,
            })
        })
    }

    fn targets(&self, resource: &Resource, policy: &RateLimitPolicy) -> Vec<&Arc<Resource>> {
        let namespace = &resource.meta.namespace;
        let refs = policy.target_refs.iter();
        refs.filter_map(|target| self.routes.named(namespace, &target.name))
            .collect()
    }

    /// The `VirtualService` with this name, whoever sees it.
    pub(crate) fn virtual_service(&self, namespace: &str, name: &str) -> Option<&Arc<Resource>> {
        self.routes.named(namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fixture::{mesh, viewer};

    const POLICIES: &str = "
kind: RateLimitPolicy
metadata: {name: everyone, namespace: istio-system}
spec: {limits: [{name: all, requests: 1, per: 1s}]}
---
kind: RateLimitPolicy
metadata: {name: productpage}
spec: {selector: {matchLabels: {app: productpage}}, limits: [{name: all, requests: 1, per: 1s}]}
---
kind: RateLimitPolicy
metadata: {name: calls}
spec:
  targetRefs: [{kind: VirtualService, name: ratings}, {kind: VirtualService, name: gone}]
  limits: [{name: all, requests: 1, per: 1s}]
---
kind: VirtualService
metadata: {name: ratings}
spec: {hosts: [ratings], http: [{directResponse: {status: 200}}]}
---
kind: VirtualService
metadata: {name: ratings, namespace: other}
spec: {hosts: [ratings], http: [{directResponse: {status: 200}}]}
";

    /// `name` of policies for what comes in, `name>namespace` of those for what is sent.
    fn concerning(namespace: &str, labels: &[&str]) -> Vec<String> {
        let mesh = mesh(POLICIES);
        let told = |limiting: Limiting<'_>| {
            let name = &limiting.resource.meta.name;
            match limiting.subject {
                Subject::Incoming => vec![name.clone()],
                Subject::Routed(targets) => targets
                    .iter()
                    .map(|target| format!("{name}>{}", target.meta.namespace))
                    .collect(),
            }
        };
        let viewer = viewer(namespace, labels);
        let mut told: Vec<String> = mesh.rate_limits(&viewer).flat_map(told).collect();
        told.sort();
        told
    }

    #[test]
    fn a_selector_decides_within_its_namespace_and_the_root_namespace_reaches_all() {
        let own = ["calls>default", "everyone", "productpage"];
        assert_eq!(concerning("default", &["app=productpage", "x=y"]), own);
        assert_eq!(concerning("default", &["app=reviews"]), own[..2]);
        assert_eq!(concerning("other", &["app=productpage"]), own[..2]);
    }
}
