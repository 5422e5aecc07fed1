//! Rules as `nft` reads them: one table of both families, replaced in one transaction.

use std::fmt::Write as _;

use crate::iptables::plan::{
    ChainName, Family, Hook, Match, Plan, Rule, Table, Transport, Verdict, network,
};

/// The table, which nobody else writes to.
pub(super) const TABLE: &str = "inet meshproxy";

/// What puts `plan` in the place of what the table holds, and makes the table if it is not there.
pub(super) fn replacement(plan: &Plan) -> String {
    let mut text = format!("add table {TABLE}\n{}table {TABLE} {{\n", removal());
    for (index, chain) in plan.chains.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "\tchain {} {{", name(chain.name));
        if let Some(hook) = chain.name.hook() {
            let _ = writeln!(text, "\t\t{}", entry(chain.name.table(), hook));
        }
        for rule in &chain.rules {
            let _ = writeln!(text, "\t\t{}", line(rule));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

/// What removes the table.
pub(super) fn removal() -> String {
    format!("delete table {TABLE}\n")
}

/// Whether the table is among those that `nft list tables` shows.
pub(super) fn is_in(tables: &str) -> bool {
    let ours = format!("table {TABLE}");
    tables.lines().any(|line| line.trim() == ours)
}

fn name(chain: ChainName) -> &'static str {
    match chain {
        ChainName::ZonesLeaving => "zones_leaving",
        ChainName::ZonesArriving => "zones_arriving",
        ChainName::Invalid => "invalid",
        ChainName::Outbound => "outbound",
        ChainName::Inbound => "inbound",
        ChainName::Arriving => "arriving",
        ChainName::Leaving => "leaving",
    }
}

/// Where a chain is entered. In `nat` after everybody else at the same place, as with iptables: what
/// others decide, such as the name server of a container, holds.
fn entry(table: Table, hook: Hook) -> String {
    let (kind, priority) = match table {
        Table::Raw => ("filter", "-300"),
        Table::Mangle => ("filter", "-150"),
        Table::Nat => ("nat", "-99"),
    };
    let hook = match hook {
        Hook::Prerouting => "prerouting",
        Hook::Output => "output",
    };
    format!("type {kind} hook {hook} priority {priority}; policy accept;")
}

fn line(rule: &Rule) -> String {
    let conditions = rule.matches.iter().map(condition);
    let words: Vec<String> = conditions.chain([verdict(&rule.verdict)]).collect();
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    let interface = |direction: &str, interface: &crate::bootstrap::Interface| {
        let (name, all) = interface.parts();
        let star = if all { "*" } else { "" };
        format!("{direction} \"{name}{star}\"")
    };
    match condition {
        Match::ArrivesAt(name) => interface("iifname", name),
        Match::LeavesBy(name) => interface("oifname", name),
        Match::StaysHere => "oifname \"lo\"".to_owned(),
        Match::FromProxyToWorkload(family) => {
            format!("{} saddr {}", layer(*family), family.proxy_to_workload())
        }
        Match::From(block) => format!("{} saddr {}", layer(Family::of(block)), network(block)),
        Match::To(block) => format!("{} daddr {}", layer(Family::of(block)), network(block)),
        Match::ToLoopback(family) => format!("{} daddr {}", layer(*family), family.loopback()),
        Match::NotToLoopback(family) => {
            format!("{} daddr != {}", layer(*family), family.loopback())
        }
        Match::Is(transport) => format!("meta l4proto {}", protocol(*transport)),
        Match::ToPort(transport, port) => format!("{} dport {port}", protocol(*transport)),
        Match::NotToPort(transport, port) => format!("{} dport != {port}", protocol(*transport)),
        Match::FromPort(transport, port) => format!("{} sport {port}", protocol(*transport)),
        Match::User(id) => format!("meta skuid {id}"),
        Match::Group(id) => format!("meta skgid {id}"),
        Match::NotGroup(id) => format!("meta skgid != {id}"),
        Match::Invalid => "ct state invalid".to_owned(),
    }
}

fn layer(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {}", name(*chain)),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Zone(zone) => format!("ct zone set {zone}"),
    }
}

#[cfg(test)]
mod tests;
