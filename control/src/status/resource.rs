//! What became of each resource, made of a generation and what proxies say.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::wire::{Name, Remark};
use rustc_hash::FxHashMap;

use super::conflict::Conflicts;
use super::{ProxyStatus, ResourceStatus};
use crate::hub::Spread;
use crate::index::Generation;

/// Most proxies that are named of those that cannot use a resource.
const REJECTIONS_MAX: usize = 10;
/// Kinds of which there are many, or whose names are nobody's business, while all is well with them.
const QUIET_KINDS: [&str; 2] = ["EndpointSlice", "Secret"];

/// What is known at one time.
#[derive(Debug, Clone)]
pub struct View {
    /// The mesh.
    pub generation: Arc<Generation>,
    /// What is ignored because of something else.
    pub conflicts: Arc<Conflicts>,
    /// How far each resource has come.
    pub spread: FxHashMap<Name, Spread>,
    /// The proxies.
    pub proxies: Vec<ProxyStatus>,
}

// === impl View ===

impl View {
    /// Every resource in the order of their names, but for those that nobody wants to read of.
    pub fn resources(&self) -> Vec<ResourceStatus> {
        let rejected = rejected(&self.proxies);
        let generation = &self.generation;
        let refused = generation.refused.keys();
        let mut names: Vec<&Name> = generation.entries.keys().chain(refused).collect();
        names.sort_unstable();
        names.dedup();
        let statuses = names.into_iter().map(|name| self.resource(name, &rejected));
        let is_shown =
            |it: &ResourceStatus| it.is_troubled() || !QUIET_KINDS.contains(&&*it.name.kind);
        statuses.filter(is_shown).collect()
    }

    /// How many resources are in use, by kind.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.generation.entries.keys() {
            *counts.entry(name.kind.to_string()).or_default() += 1;
        }
        counts
    }

    fn resource(&self, name: &Name, rejected: &FxHashMap<String, Vec<Remark>>) -> ResourceStatus {
        let reasons = self.generation.refused.get(name);
        let spread = self.spread.get(name).copied().unwrap_or_default();
        let entry = self.generation.entries.get(name);
        ResourceStatus {
            name: name.clone(),
            version: entry.map(|entry| entry.version.to_string()),
            accepted: reasons.is_none(),
            reasons: reasons.cloned().unwrap_or_default(),
            conflicts: self.conflicts.get(name).cloned().unwrap_or_default(),
            proxies: spread.current + spread.older + spread.rejected,
            acknowledged: spread.current,
            rejected: rejected.get(&name.to_string()).cloned().unwrap_or_default(),
        }
    }
}

/// What proxies say of resources that they cannot use, by the resource's name.
fn rejected(proxies: &[ProxyStatus]) -> FxHashMap<String, Vec<Remark>> {
    let mut rejected: FxHashMap<String, Vec<Remark>> = FxHashMap::default();
    for proxy in proxies {
        for remark in &proxy.report.rejected {
            let said = rejected.entry(remark.name.clone()).or_default();
            if said.len() < REJECTIONS_MAX {
                said.push(Remark {
                    name: proxy.id.clone(),
                    message: remark.message.clone(),
                });
            }
        }
    }
    rejected
}
