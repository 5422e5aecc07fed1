//! From `AuthorizationPolicy` resources to the policies of this proxy.

mod authorizer;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod rule;

use std::sync::Arc;

use config::mesh::Mesh;
use config::resource::authorization_policy::{Action as Written, AuthorizationPolicy};
use config::spiffe::SpiffeId;

use super::Perspective;
use super::admission::Concerning;
use super::destinations::Registry;
use crate::inbound::authz::external::Asked;
use crate::inbound::authz::policy::{Action, Policy, PolicyId};
use crate::inbound::authz::{Authorization, Tried};
use crate::telemetry::metrics::AuthorizationCounters;
use rule::RuleCompiler;

/// The policies that concern a port; none if all may in.
pub(super) fn compile(
    mesh: &Mesh,
    perspective: &Perspective,
    concerning: &[Concerning<'_>],
    registry: &mut Registry,
) -> Option<Arc<Authorization>> {
    let counters = registry.metrics().process.authorization.clone();
    let mut by_action = ByAction::default();
    let trust_domains = trust_domains(mesh, perspective);
    for one in concerning {
        let policy = policy(one, &trust_domains, &counters);
        let provider = one.written.provider.as_ref().map(|it| it.name.as_str());
        by_action.add(policy, provider.unwrap_or_default());
    }
    let ByAction {
        custom,
        deny,
        allow,
        audit,
        tried,
        any: true,
    } = by_action
    else {
        return None;
    };
    let custom = custom.into_iter().map(|(name, policies)| Asked {
        authorizer: authorizer::compile(mesh, registry, &name),
        results: counters.of_provider(&name),
        provider: name,
        policies: policies.into(),
    });
    let mut authorization = Authorization {
        custom: custom.collect(),
        deny: deny.into(),
        allow: allow.into(),
        audit: audit.into(),
        tried: Tried {
            deny: tried.0.into(),
            allow: tried.1.into(),
            custom: tried.2.into(),
        },
        not_allowed: counters.not_allowed(false),
        would_not_allow: counters.not_allowed(true),
        looks_at_headers: false,
        trusted_hops: mesh.settings().trusted_proxies,
        trust_domains: trust_domains.iter().map(|it| it.as_str().into()).collect(),
    };
    authorization.looks_at_headers = needs_headers(&authorization);
    Some(Arc::new(authorization))
}

/// Whether headers must be in their place before it is judged.
fn needs_headers(authorization: &Authorization) -> bool {
    let rules = authorization.policies().flat_map(|policy| &policy.rules);
    let mut conditions = rules.flat_map(|rule| rule.conditions());
    // Authorizers are shown the request as the upstream will see it.
    !authorization.custom.is_empty() || conditions.any(|it| it.check.looks_at_headers())
}

/// Policies by what becomes of what they match, each kind in the order of precedence.
#[derive(Default)]
struct ByAction {
    /// By the name of their provider.
    custom: Vec<(Arc<str>, Vec<Policy>)>,
    deny: Vec<Policy>,
    allow: Vec<Policy>,
    audit: Vec<Policy>,
    /// Those that are only tried and deny, allow or ask.
    tried: (Vec<Policy>, Vec<Policy>, Vec<Policy>),
    any: bool,
}

// === impl ByAction ===

impl ByAction {
    fn add(&mut self, policy: Policy, provider: &str) {
        self.any = true;
        let (deny, allow, custom) = &mut self.tried;
        match (policy.action, policy.dry_run) {
            // To record is no more than to try.
            (Action::Audit, _) => self.audit.push(policy),
            (Action::Deny, true) => deny.push(policy),
            (Action::Allow, true) => allow.push(policy),
            (Action::Custom, true) => custom.push(policy),
            (Action::Deny, false) => self.deny.push(policy),
            (Action::Allow, false) => self.allow.push(policy),
            (Action::Custom, false) => {
                let known = self.custom.iter_mut().find(|(name, _)| **name == *provider);
                match known {
                    Some((_, policies)) => policies.push(policy),
                    None => self.custom.push((provider.into(), vec![policy])),
                }
            }
        }
    }
}

fn policy(
    concerning: &Concerning<'_>,
    trust_domains: &[String],
    counters: &AuthorizationCounters,
) -> Policy {
    let &Concerning {
        resource,
        written,
        suffices,
    } = concerning;
    let action = match written.action {
        Some(Written::Allow) | None => Action::Allow,
        Some(Written::Deny) => Action::Deny,
        Some(Written::Audit) => Action::Audit,
        Some(Written::Custom) => Action::Custom,
    };
    let id = Arc::new(PolicyId {
        namespace: resource.meta.namespace.as_str().into(),
        name: resource.meta.name.as_str().into(),
    });
    let dry_run = AuthorizationPolicy::is_dry_run(&resource.meta);
    let compiler = RuleCompiler {
        namespace: &resource.meta.namespace,
        allows: action == Action::Allow,
        trust_domains,
    };
    // Without rules it matches nothing, and what must be allowed must still be allowed by some.
    let rules = written.rules.iter().filter(|_| suffices);
    let rules = rules.map(|rule| compiler.rule(rule));
    Policy {
        rules: rules.collect(),
        matched: counters.of(&id, action, dry_run),
        id,
        action,
        dry_run,
    }
}

/// Trust domains whose identities count as those of the mesh: the proxy's own, and those of the mesh.
fn trust_domains(mesh: &Mesh, perspective: &Perspective) -> Vec<String> {
    let own = SpiffeId::parse(&perspective.principal).ok();
    let own = own.map(|it| it.trust_domain().to_owned());
    let mut all: Vec<String> = own.into_iter().collect();
    all.extend(mesh.settings().trust_domains.iter().cloned());
    all.sort_unstable();
    all.dedup();
    all
}
