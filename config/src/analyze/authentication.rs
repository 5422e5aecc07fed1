//! Tokens that nobody asks for: a request without one passes every `RequestAuthentication`.

use std::sync::Arc;

use super::{Context, Report};
use crate::resource::authorization_policy::{AuthorizationPolicy, AuthorizationRule};
use crate::resource::request_authentication::RequestAuthentication;
use crate::resource::{Resource, Spec};

/// What stands before the name of a condition on a token.
const OF_TOKENS: &str = "request.auth.";

pub(super) fn check(
    context: &Context<'_>,
    resources: &[Arc<Resource>],
    resource: &Arc<Resource>,
    policy: &RequestAuthentication,
    report: &mut Report,
) {
    if policy.jwt_rules.is_empty() {
        return;
    }
    let (root, own) = (context.mesh.root_namespace(), &resource.meta.namespace);
    let requires = |other: &Arc<Resource>| {
        let namespace = &other.meta.namespace;
        let in_reach = namespace == own || namespace == root || own == root;
        match &other.spec {
            Spec::AuthorizationPolicy(policy) => {
                let is_held =
                    policy.is_by_selector() && !AuthorizationPolicy::is_dry_run(&other.meta);
                in_reach && is_held && asks(policy)
            }
            _ => false,
        }
    };
    if !resources.iter().any(requires) {
        let message = "a request without token passes: no AuthorizationPolicy asks for \
                       requestPrincipals or request.auth"
            .to_owned();
        report.warn(resource, "spec.jwtRules", message);
    }
}

/// Whether a policy looks at tokens at all.
fn asks(policy: &AuthorizationPolicy) -> bool {
    let by_source = |rule: &AuthorizationRule| {
        let mut sources = rule.from.iter().filter_map(|it| it.source.as_ref());
        sources.any(|it| !it.request_principals.is_empty() || !it.not_request_principals.is_empty())
    };
    let by_condition =
        |rule: &AuthorizationRule| rule.when.iter().any(|it| it.key.starts_with(OF_TOKENS));
    let mut rules = policy.rules.iter();
    rules.any(|rule| by_source(rule) || by_condition(rule))
}
