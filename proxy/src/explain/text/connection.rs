//! What would become of a connection, for people.

use std::io::{self, Write};

use super::{fact, inner, pairs, subset};
use crate::explain::decision::connection::{Connection, End, Rule, Target};

/// Prints what would become of a connection.
pub(in crate::explain) fn print(out: &mut impl Write, told: &Connection) -> io::Result<()> {
    fact(out, "connection", &told.connection)?;
    let labels = match told.caller.labels.is_empty() {
        true => "no labels".to_owned(),
        false => pairs(&told.caller.labels),
    };
    let namespace = &told.caller.namespace;
    fact(
        out,
        "caller",
        format_args!("{labels}, namespace {namespace}"),
    )?;
    let address = told.address.as_deref();
    fact(out, "address", address.unwrap_or("not known here"))?;
    fact(out, "listener", &told.listener)?;
    fact(out, "speaks", told.speaks)?;
    for (at, Rule { name, matched, why }) in told.rules.iter().enumerate() {
        let head = if at == 0 { "rules" } else { "" };
        let mark = if *matched { '>' } else { '-' };
        fact(out, head, format_args!("{mark} {name}"))?;
        if let Some(why) = why {
            fact(out, "", format_args!("    {why}"))?;
        }
    }
    writeln!(out)?;
    match &told.end {
        End::Refused(reason) => fact(out, "action", format_args!("refuse: {reason}")),
        End::Forwarded(targets) => {
            fact(out, "action", "forward")?;
            targets.iter().try_for_each(|it| target(out, it))
        }
    }
}

fn target(out: &mut impl Write, target: &Target) -> io::Result<()> {
    let name = subset(target.subset.as_deref());
    writeln!(out)?;
    fact(
        out,
        "target",
        format_args!("{} % {}{name}", target.percent, target.host),
    )?;
    if let Some(why) = &target.fails {
        inner(out, "fails", why)?;
    }
    if let Some(destination) = &target.destination {
        inner(out, "destination", destination)?;
        let rule = target.destination_rule.as_deref();
        let rule = rule.map_or_else(|| "none".to_owned(), |it| format!("DestinationRule {it}"));
        inner(out, "policy", rule)?;
    }
    if let Some(balancing) = target.balancing {
        inner(out, "balancing", balancing)?;
    }
    for endpoint in &target.endpoints {
        inner(out, "endpoint", endpoint)?;
    }
    Ok(())
}
