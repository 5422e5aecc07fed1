//! Whether the request would be let in, and why, for people.

use std::io::{self, Write};

use super::fact;
use crate::explain::decision::authorization::{Authorization, Looked};
use crate::inbound::authz::policy::Action;

/// Policies in the order in which they are looked at, and what decides.
pub(super) fn authorization(out: &mut impl Write, told: &Authorization) -> io::Result<()> {
    let peer = told.principal.as_deref().unwrap_or("nobody that is proven");
    fact(out, "peer", peer)?;
    for (at, looked) in told.policies.iter().enumerate() {
        let name = if at == 0 { "policies" } else { "" };
        let mark = if looked.matched.is_some() { '>' } else { '-' };
        fact(out, name, format_args!("{mark} {}", title(looked)))?;
        for unmet in &looked.mismatches {
            let found = unmet.found.as_deref().unwrap_or("none");
            let (rule, place) = (unmet.rule, &unmet.place);
            fact(
                out,
                "",
                format_args!("    rule {rule}: {place} does not hold; has {found}"),
            )?;
        }
        if looked.matched.is_none() && looked.mismatches.is_empty() {
            fact(out, "", "    it has no rules")?;
        }
    }
    for provider in &told.asks {
        fact(
            out,
            "asks",
            format_args!("{provider}, before anything else is decided"),
        )?;
    }
    let verb = if told.allowed { "allowed" } else { "denied" };
    match (&told.by, told.allowed) {
        (Some(by), _) => fact(out, "let in", format_args!("{verb} by {by}")),
        (None, true) => fact(out, "let in", "allowed: no policy has to allow it"),
        (None, false) => fact(out, "let in", "denied: no policy allows it"),
    }
}

fn title(looked: &Looked) -> String {
    let tried = if looked.dry_run { ", only tried" } else { "" };
    let rule = looked
        .matched
        .map_or_else(String::new, |rule| format!("[{rule}]"));
    let action = match looked.action {
        Action::Custom => "CUSTOM",
        Action::Deny => "DENY",
        Action::Allow => "ALLOW",
        Action::Audit => "AUDIT",
    };
    format!("{action} {}{rule}{tried}", looked.policy)
}
