//! What to run: from what there is to what is wanted. Pure, so that `--dry-run` cannot differ from a
//! run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::bootstrap::Backend;
use crate::iptables::host::{Host, Kept, Seen, Unusable};
use crate::iptables::nft;
use crate::iptables::plan::{Family, Plan};
use crate::iptables::program::Call;
use crate::iptables::restore::{self, Saved};

/// Seconds that iptables waits for others that change rules.
const LOCK_WAIT: &str = "--wait=10";

/// A program that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) call: Call,
    /// What it reads.
    pub(super) input: String,
}

/// A backend that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// `nft`.
    Nft,
    /// A kind of iptables.
    Iptables(Kept),
}

/// Nothing here can write rules, or not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(super) struct NoBackend(Vec<String>);

/// Puts `plan` in the place of whatever is there of ours. Also says by which backend.
///
/// # Errors
///
/// If there is no backend for it.
pub(super) fn install(
    plan: &Plan,
    wanted: Backend,
    host: &Host,
    seen: &Seen,
) -> Result<(Used, Vec<Step>), NoBackend> {
    let backend = choose(wanted, seen)?;
    let mut steps = Vec::new();
    if host.uses_ipv6 && !host.has_own_address {
        steps.push(address(host, "add")?);
    }
    match backend {
        Used::Nft => steps.extend(by_nft(host, nft::replacement(plan))),
        Used::Iptables(kept) => {
            let nothing = Saved::default();
            let saved = saved(seen, kept);
            for family in &host.families {
                let saved = saved.and_then(|it| it.get(family)).unwrap_or(&nothing);
                let rules = restore::replacement(plan, saved, *family);
                steps.extend(by_iptables(host, kept, *family, rules));
            }
        }
    }
    // Afterwards, so that there is no moment without rules.
    steps.extend(removals(host, seen, Some(backend)));
    Ok((backend, steps))
}

/// Removes whatever is there of ours.
///
/// # Errors
///
/// If no backend can tell what is there.
pub(super) fn clean(host: &Host, seen: &Seen) -> Result<Vec<Step>, NoBackend> {
    let backends = [
        Used::Nft,
        Used::Iptables(Kept::Nft),
        Used::Iptables(Kept::Legacy),
    ];
    let blind: Vec<String> = backends
        .iter()
        .filter_map(|backend| why_not(*backend, seen))
        .collect();
    if blind.len() == backends.len() {
        return Err(NoBackend(blind));
    }
    let mut steps = removals(host, seen, None);
    // Only with rules of ours: else it is somebody else's.
    if seen.has_ours() && host.has_own_address {
        steps.push(address(host, "del")?);
    }
    Ok(steps)
}

// === impl Step ===

impl Step {
    /// The step as a shell takes it.
    pub(super) fn for_a_shell(&self) -> String {
        let Self { call, input } = self;
        match input.as_str() {
            "" => format!("{call}\n"),
            input => format!("{call} <<'END'\n{input}END\n"),
        }
    }
}

// === impl Used ===

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Iptables(Kept::Nft) => "iptables-nft",
            Self::Iptables(Kept::Legacy) => "iptables-legacy",
        })
    }
}

/// The backend that is used if `wanted` is asked for.
fn choose(wanted: Backend, seen: &Seen) -> Result<Used, NoBackend> {
    let legacy = Used::Iptables(Kept::Legacy);
    let order = match wanted {
        Backend::Nft => vec![Used::Nft],
        Backend::IptablesNft => vec![Used::Iptables(Kept::Nft)],
        Backend::IptablesLegacy => vec![legacy],
        Backend::Auto if has_legacy_rules(seen) => vec![legacy],
        Backend::Auto => vec![Used::Nft, Used::Iptables(Kept::Nft), legacy],
    };
    let usable = order
        .iter()
        .find(|backend| why_not(**backend, seen).is_none());
    let reasons = || NoBackend(order.iter().filter_map(|it| why_not(*it, seen)).collect());
    usable.copied().ok_or_else(reasons)
}

/// Why a backend cannot be used; nothing if it can.
fn why_not(backend: Used, seen: &Seen) -> Option<String> {
    match backend {
        Used::Nft => seen.nft.as_ref().err().map(Unusable::to_string),
        Used::Iptables(kept) => {
            let seen = seen.iptables.get(&kept)?.as_ref();
            seen.err().map(Unusable::to_string)
        }
    }
}

/// Whether rules are kept here as before nftables. The kernel asks both kinds, in an order that nobody
/// wants to think about.
fn has_legacy_rules(seen: &Seen) -> bool {
    let mut families = saved(seen, Kept::Legacy)
        .into_iter()
        .flat_map(BTreeMap::values);
    families.any(|saved| saved.foreign || saved.has_ours())
}

fn saved(seen: &Seen, kept: Kept) -> Option<&BTreeMap<Family, Saved>> {
    seen.iptables.get(&kept)?.as_ref().ok()
}

/// What removes ours by every backend but one.
fn removals(host: &Host, seen: &Seen, but: Option<Used>) -> Vec<Step> {
    let mut steps = Vec::new();
    if but != Some(Used::Nft) && seen.nft.as_ref().is_ok_and(|ours| *ours) {
        steps.extend(by_nft(host, nft::removal()));
    }
    for kept in Kept::ALL {
        if but == Some(Used::Iptables(kept)) {
            continue;
        }
        for (family, saved) in saved(seen, kept).into_iter().flatten() {
            let rules = restore::removal(saved, *family);
            steps.extend(by_iptables(host, kept, *family, rules));
        }
    }
    steps
}

fn by_nft(host: &Host, input: String) -> Option<Step> {
    let program = host.nft.clone()?;
    Some(Step {
        call: Call {
            program,
            arguments: vec!["-f", "-"],
        },
        input,
    })
}

fn by_iptables(host: &Host, kept: Kept, family: Family, input: String) -> Option<Step> {
    let program = host.iptables.get(&(kept, family))?.restore.clone();
    let call = Call {
        program,
        arguments: vec!["--noflush", LOCK_WAIT],
    };
    (!input.is_empty()).then_some(Step { call, input })
}

/// Gives loopback the address of IPv6 by which the proxy calls its workload, or takes it away: of IPv4
/// it has all of 127.0.0.0/8, of IPv6 only one.
fn address(host: &Host, what: &'static str) -> Result<Step, NoBackend> {
    let missing = || NoBackend(vec!["ip is not installed: loopback needs ::6".to_owned()]);
    let program: PathBuf = host.ip.clone().ok_or_else(missing)?;
    Ok(Step {
        call: Call {
            program,
            arguments: vec!["-6", "addr", what, "::6/128", "dev", "lo"],
        },
        input: String::new(),
    })
}

#[cfg(test)]
mod tests;
