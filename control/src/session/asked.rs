//! What a proxy asks for by name, and what it was answered.

use config::wire::{DEMANDS, Demand};
use prost::Message;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::feed::{Acknowledged, OnItsWay, acknowledge};
use crate::index::Generation;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::proto::wire::Answer;

/// Most demands of one proxy. One that wants to reach more hosts than this lets go of some.
const DEMANDS_MAX: usize = 4_096;
/// Versions of answers.
const FOUND: &str = "1";
const NOT_FOUND: &str = "0";

/// The demands of a proxy.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// With what the proxy was answered last.
    demands: FxHashMap<Demand, Option<bool>>,
    /// What was asked for that is no demand, or one too many. Told to be gone, so that nobody waits.
    refused: Vec<String>,
    on_its_way: Option<OnItsWay>,
    is_stale: bool,
}

// === impl Asked ===

impl Asked {
    /// Takes a request in; returns whether it asks for something else than before.
    pub(super) fn hear(&mut self, request: &DeltaDiscoveryRequest) -> bool {
        let mut asks = false;
        for name in &request.resource_names_unsubscribe {
            if let Ok(demand) = name.parse::<Demand>() {
                asks |= self.demands.remove(&demand).is_some();
            }
        }
        for name in &request.resource_names_subscribe {
            let demand = name.parse::<Demand>().ok();
            let is_known = demand
                .as_ref()
                .is_some_and(|it| self.demands.contains_key(it));
            match demand {
                Some(demand) if is_known || self.demands.len() < DEMANDS_MAX => {
                    let answered = request.initial_resource_versions.get(name);
                    let answered = answered.and_then(|version| match version.as_str() {
                        FOUND => Some(true),
                        NOT_FOUND => Some(false),
                        _ => None,
                    });
                    self.demands.insert(demand, answered);
                    asks = true;
                }
                Some(_) | None if self.refused.len() < DEMANDS_MAX => {
                    self.refused.push(name.clone());
                    self.is_stale = true;
                }
                Some(_) | None => {}
            }
        }
        asks
    }

    pub(super) fn acknowledge(&mut self, nonce: &str) -> Option<Acknowledged> {
        acknowledge(&mut self.on_its_way, nonce)
    }

    pub(super) fn demands(&self) -> impl Iterator<Item = &Demand> {
        self.demands.keys()
    }

    pub(super) fn renew(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|it| it.sent)
    }

    /// Answers that the proxy does not have yet. `found` is of a scope in which all demands are.
    pub(super) fn tell(
        &mut self,
        generation: &Generation,
        found: &FxHashMap<Demand, bool>,
        (nonce, now): (u64, Instant),
    ) -> Option<DeltaDiscoveryResponse> {
        if !self.is_stale || self.on_its_way.is_some() {
            return None;
        }
        self.is_stale = false;
        let mut resources = Vec::new();
        for (demand, answered) in &mut self.demands {
            if let Some(&found) = found.get(demand)
                && *answered != Some(found)
            {
                *answered = Some(found);
                resources.push(answer(demand, found));
            }
        }
        let removed_resources = std::mem::take(&mut self.refused);
        if resources.is_empty() && removed_resources.is_empty() {
            return None;
        }
        let nonce = nonce.to_string();
        self.on_its_way = Some(OnItsWay::whole(&nonce, generation, now));
        Some(DeltaDiscoveryResponse {
            system_version_info: generation.number.to_string(),
            resources,
            type_url: DEMANDS.to_owned(),
            nonce,
            removed_resources,
        })
    }
}

fn answer(demand: &Demand, found: bool) -> Resource {
    Resource {
        version: if found { FOUND } else { NOT_FOUND }.to_owned(),
        resource: Some(prost_types::Any {
            type_url: DEMANDS.to_owned(),
            value: Answer { found }.encode_to_vec(),
        }),
        name: demand.to_string(),
    }
}
