//! `/authz`: policies of authorization in force, and what they matched.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::inbound::authz::Authorization;
use crate::inbound::authz::policy::Policy;
use crate::table::Table;

/// All policies of this proxy, in the order in which they are looked at. What concerns several
/// listeners that do not have all in common is told once.
pub(super) fn policies(table: &Table) -> Vec<Value> {
    let mut told = HashSet::new();
    let all = table.authorizations().into_iter();
    let policies = all.flat_map(|it| it.policies().map(move |policy| (it, policy)));
    let policies = policies.filter(|(_, policy)| told.insert(&policy.id));
    let shown = policies.map(|(authorization, policy)| shown(authorization, policy));
    shown.collect()
}

fn shown(authorization: &Authorization, policy: &Policy) -> Value {
    let custom = authorization.custom.iter();
    let mut asking = custom.filter(|it| it.policies.iter().any(|p| std::ptr::eq(p, policy)));
    let provider = asking.next().map(|it| &*it.provider);
    json!({
        "policy": policy.id.to_string(),
        "action": policy.action,
        "dryRun": policy.dry_run,
        "rules": policy.rules.len(),
        "provider": provider,
        "matched": policy.matched.get(),
    })
}
