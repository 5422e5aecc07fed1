//! Which security policies concern a workload.

use std::sync::Arc;

use super::{Mesh, Viewer, name};
use crate::resource::authorization_policy::AuthorizationPolicy;
use crate::resource::request_authentication::RequestAuthentication;
use crate::resource::selector::LabelSelector;
use crate::resource::{Resource, Spec};

impl Mesh {
    /// Policies that say which tokens prove who a request is from, in the order of precedence: of the
    /// viewer's namespace and of the root namespace those that select its labels.
    pub fn request_authentications<'m>(
        &'m self,
        viewer: &Viewer,
    ) -> impl Iterator<Item = (&'m Arc<Resource>, &'m RequestAuthentication)> {
        let policies = self.kinds.request_authentications.iter();
        policies.filter_map(move |resource| match &resource.spec {
            Spec::RequestAuthentication(policy) if policy.is_by_selector() => self
                .selects_workload(resource, policy.selector.as_ref(), viewer)
                .then_some((resource, policy)),
            _ => None,
        })
    }

    /// Policies that say who may do what, found in the same way.
    pub fn authorization_policies<'m>(
        &'m self,
        viewer: &Viewer,
    ) -> impl Iterator<Item = (&'m Arc<Resource>, &'m AuthorizationPolicy)> {
        let policies = self.kinds.authorization_policies.iter();
        policies.filter_map(move |resource| match &resource.spec {
            Spec::AuthorizationPolicy(policy) if policy.is_by_selector() => self
                .selects_workload(resource, policy.selector.as_ref(), viewer)
                .then_some((resource, policy)),
            _ => None,
        })
    }

    /// The namespace whose policies reach the whole mesh.
    pub(crate) fn root_namespace(&self) -> &str {
        &self.settings.root_namespace
    }

    /// Whether a policy of the viewer's namespace or the root namespace has the viewer in its
    /// selector.
    pub(super) fn selects_workload(
        &self,
        resource: &Resource,
        selector: Option<&LabelSelector>,
        viewer: &Viewer,
    ) -> bool {
        let namespace = &resource.meta.namespace;
        let in_reach = *namespace == viewer.namespace || *namespace == self.settings.root_namespace;
        in_reach && selector.is_none_or(|it| name::selects(&it.match_labels, &viewer.labels))
    }
}
