//! `/authz`: policies of authorization in force, and what they matched.

use serde_json::{Value, json};

use crate::table::Table;

/// All policies of this proxy, in the order in which they are looked at.
pub(super) fn policies(table: &Table) -> Vec<Value> {
    let Some(authorization) = table.authorization() else {
        return Vec::new();
    };
    let policies = authorization.policies().map(|policy| {
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
    });
    policies.collect()
}
