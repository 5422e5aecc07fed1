//! `AuthorizationPolicy`: for whom it is, and that its rules say something that can be held.

mod custom;
mod rule;
#[cfg(test)]
mod tests;

use crate::resource::Metadata;
use crate::resource::authorization_policy::{Action, AuthorizationPolicy};
use crate::validate::findings::Findings;
use crate::validate::selector;

/// Most rules of a policy.
const RULES_MAX: usize = 512;

/// What becomes of a policy for resources by name: in Istio, too, workloads and their gateways do not
/// look at it, but those that the Gateway API makes do.
const NOT_ENFORCED: &str = "is NOT ENFORCED, so that nobody is kept out by this policy: resources by \
                            name are those of the Gateway API and its waypoints, which are not served \
                            here; choose workloads and gateways by selector";

/// Checks an `AuthorizationPolicy`.
pub(crate) fn check(policy: &AuthorizationPolicy, meta: &Metadata, f: &mut Findings) {
    let (one, all) = (policy.target_ref.as_ref(), &policy.target_refs);
    selector::check(policy.selector.as_ref(), one, all, meta, f);
    if !policy.is_by_selector() {
        let field = if one.is_some() {
            "targetRef"
        } else {
            "targetRefs"
        };
        f.warn_in(field, NOT_ENFORCED);
    }
    if policy.rules.len() > RULES_MAX {
        f.error_in("rules", format!("must have at most {RULES_MAX} items"));
    }
    let action = policy.action.unwrap_or(Action::Allow);
    match action {
        Action::Deny | Action::Custom if policy.rules.is_empty() => f.error_in(
            "rules",
            "is required for this action: without rules nothing is ever matched; write the rule {} \
             for every request",
        ),
        Action::Audit if policy.rules.is_empty() => {
            f.warn_in("rules", "has no rules, so that nothing is ever recorded");
        }
        Action::Allow | Action::Deny | Action::Audit | Action::Custom => {}
    }
    match (&policy.provider, action) {
        (provider, Action::Custom) => {
            let name = provider.as_ref().map_or("", |provider| &provider.name);
            if name.is_empty() {
                f.field("provider", |f| f.error_in("name", "is required for CUSTOM"));
            }
        }
        (Some(_), Action::Allow | Action::Deny | Action::Audit) => {
            f.error_in("provider", "is only for action CUSTOM");
        }
        (None, Action::Allow | Action::Deny | Action::Audit) => {}
    }
    f.each("rules", &policy.rules, |f, rule| {
        rule::check(rule, action, f);
        if action == Action::Custom {
            custom::check(rule, f);
        }
    });
}
