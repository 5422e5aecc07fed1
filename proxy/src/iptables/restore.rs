//! Rules as `iptables-restore --noflush` reads them, for one family of addresses.
//!
//! What others wrote stays. Ours is in chains of our own; from the chains of others there is nothing
//! but a jump into them, behind what is there already. Each table is replaced in one transaction.

use std::fmt::Write as _;

use crate::iptables::plan::{
    Chain, ChainName, Family, Hook, Match, Plan, Rule, Table, Transport, Verdict, network,
};

/// Begins the names of our chains.
const PREFIX: &str = "MESHPROXY_";

/// What `iptables-save` shows of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// Our chains.
    chains: Vec<ChainName>,
    /// Jumps into our chains from those of others, as they are written.
    jumps: Vec<(Table, String)>,
    /// Whether others have rules.
    pub(super) foreign: bool,
}

// === impl Saved ===

impl Saved {
    /// Reads what `iptables-save` prints.
    pub(super) fn read(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            if let Some(named) = line.strip_prefix('*') {
                table = TABLES.into_iter().find(|it| table_name(*it) == named);
            } else if let Some(declared) = line.strip_prefix(':') {
                let chain = declared.split(' ').next().and_then(ours);
                saved.chains.extend(chain);
            } else if let Some(rule) = line.strip_prefix("-A ") {
                saved.note(table, rule);
            }
        }
        saved
    }

    fn note(&mut self, table: Option<Table>, rule: &str) {
        let chain = rule.split(' ').next().unwrap_or_default();
        if ours(chain).is_some() {
            return;
        }
        let mut words = rule.split(' ').skip_while(|word| *word != "-j");
        match (table, words.nth(1).and_then(ours)) {
            (Some(table), Some(_)) => self.jumps.push((table, rule.to_owned())),
            (Some(_) | None, _) => self.foreign = true,
        }
    }

    /// Whether there is anything of ours.
    pub(super) fn has_ours(&self) -> bool {
        !self.chains.is_empty()
    }
}

/// In the order in which they are replaced: connections are captured last.
const TABLES: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

/// What puts `plan` in the place of what is there of ours; nothing if there is nothing to do.
pub(super) fn replacement(plan: &Plan, saved: &Saved, family: Family) -> String {
    let mut text = String::new();
    for table in TABLES {
        let in_table = |chain: &&Chain| chain.name.table() == table;
        let wanted: Vec<&Chain> = plan.chains.iter().filter(in_table).collect();
        replace(&mut text, table, &wanted, saved, family);
    }
    text
}

/// What removes what is there of ours; nothing if there is nothing.
pub(super) fn removal(saved: &Saved, family: Family) -> String {
    replacement(&Plan::default(), saved, family)
}

fn replace(text: &mut String, table: Table, wanted: &[&Chain], saved: &Saved, family: Family) {
    let is_wanted = |name: &ChainName| wanted.iter().any(|chain| chain.name == *name);
    let there: Vec<ChainName> = ChainName::ALL
        .into_iter()
        .filter(|name| name.table() == table && saved.chains.contains(name))
        .collect();
    if wanted.is_empty() && there.is_empty() {
        return;
    }
    let _ = writeln!(text, "*{}", table_name(table));
    // To declare a chain is to make it, or to empty it.
    for name in ChainName::ALL {
        if is_wanted(&name) || there.contains(&name) {
            let _ = writeln!(text, ":{} - [0:0]", chain_name(name));
        }
    }
    for (_, jump) in saved.jumps.iter().filter(|(of, _)| *of == table) {
        let _ = writeln!(text, "-D {jump}");
    }
    for chain in wanted {
        for rule in &chain.rules {
            if rule.family().is_none_or(|it| it == family) {
                let _ = writeln!(text, "-A {} {}", chain_name(chain.name), line(rule));
            }
        }
    }
    for chain in wanted {
        if let Some(hook) = chain.name.hook() {
            let _ = writeln!(text, "-A {} -j {}", hook_name(hook), chain_name(chain.name));
        }
    }
    for name in there.iter().filter(|name| !is_wanted(name)) {
        let _ = writeln!(text, "-X {}", chain_name(*name));
    }
    text.push_str("COMMIT\n");
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Raw => "raw",
        Table::Mangle => "mangle",
        Table::Nat => "nat",
    }
}

fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Output => "OUTPUT",
    }
}

fn chain_name(chain: ChainName) -> String {
    let name = match chain {
        ChainName::ZonesLeaving => "ZONES_LEAVING",
        ChainName::ZonesArriving => "ZONES_ARRIVING",
        ChainName::Invalid => "INVALID",
        ChainName::Outbound => "OUTBOUND",
        ChainName::Inbound => "INBOUND",
        ChainName::Arriving => "ARRIVING",
        ChainName::Leaving => "LEAVING",
    };
    format!("{PREFIX}{name}")
}

/// The chain of ours that has a name.
fn ours(name: &str) -> Option<ChainName> {
    ChainName::ALL
        .into_iter()
        .find(|chain| chain_name(*chain) == name)
}

fn line(rule: &Rule) -> String {
    let conditions = rule.matches.iter().map(condition);
    let words: Vec<String> = conditions.chain([verdict(&rule.verdict)]).collect();
    words.join(" ")
}

fn condition(condition: &Match) -> String {
    match condition {
        Match::ArrivesAt(name) => format!("-i {name}"),
        Match::LeavesBy(name) => format!("-o {name}"),
        Match::StaysHere => "-o lo".to_owned(),
        Match::FromProxyToWorkload(family) => format!("-s {}", family.proxy_to_workload()),
        Match::From(block) => format!("-s {}", network(block)),
        Match::To(block) => format!("-d {}", network(block)),
        Match::ToLoopback(family) => format!("-d {}", family.loopback()),
        Match::NotToLoopback(family) => format!("! -d {}", family.loopback()),
        Match::Is(transport) => format!("-p {}", protocol(*transport)),
        Match::ToPort(transport, port) => format!("-p {} --dport {port}", protocol(*transport)),
        Match::NotToPort(transport, port) => {
            format!("-p {} ! --dport {port}", protocol(*transport))
        }
        Match::FromPort(transport, port) => format!("-p {} --sport {port}", protocol(*transport)),
        Match::User(id) => format!("-m owner --uid-owner {id}"),
        Match::Group(id) => format!("-m owner --gid-owner {id}"),
        Match::NotGroup(id) => format!("-m owner ! --gid-owner {id}"),
        Match::Invalid => "-m conntrack --ctstate INVALID".to_owned(),
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
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Jump(chain) => format!("-j {}", chain_name(*chain)),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Zone(zone) => format!("-j CT --zone {zone}"),
    }
}

#[cfg(test)]
mod tests;
