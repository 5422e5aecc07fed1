//! What a proxy is told of its own workload.

use std::sync::Arc;

use config::wire::{OWN, WORKLOAD};
use prost::Message;
use tokio::time::Instant;

use super::feed::{Acknowledged, OnItsWay, acknowledge};
use crate::index::Generation;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::proto::wire::Workload;

/// What the proxy knows of itself by us.
#[derive(Debug, Default)]
pub(super) struct Own {
    is_subscribed: bool,
    /// Its locality, which is its own version.
    locality: Option<Arc<str>>,
    on_its_way: Option<OnItsWay>,
}

// === impl Own ===

impl Own {
    /// Takes a request in. The first says what the proxy knows from before.
    pub(super) fn hear(&mut self, request: &DeltaDiscoveryRequest) -> Option<Acknowledged> {
        if !self.is_subscribed {
            self.is_subscribed = true;
            let before = request.initial_resource_versions.get(OWN);
            self.locality = before.map(|it| Arc::from(it.as_str()));
        }
        acknowledge(&mut self.on_its_way, &request.response_nonce)
    }

    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|it| it.sent)
    }

    /// What is another than the proxy knows. What is not known here stays as it knows it: its pod was not
    /// seen yet, or not any longer, but pods do not move.
    pub(super) fn tell(
        &mut self,
        generation: &Generation,
        locality: Option<&Arc<str>>,
        (nonce, now): (u64, Instant),
    ) -> Option<DeltaDiscoveryResponse> {
        let is_free = self.is_subscribed && self.on_its_way.is_none();
        let locality = locality.filter(|it| is_free && self.locality.as_ref() != Some(*it))?;
        self.locality = Some(Arc::clone(locality));
        let nonce = nonce.to_string();
        self.on_its_way = Some(OnItsWay::whole(&nonce, generation, now));
        let locality = locality.to_string();
        let own = Resource {
            version: locality.clone(),
            resource: Some(prost_types::Any {
                type_url: WORKLOAD.to_owned(),
                value: Workload { locality }.encode_to_vec(),
            }),
            name: OWN.to_owned(),
        };
        Some(DeltaDiscoveryResponse {
            system_version_info: generation.number.to_string(),
            resources: vec![own],
            type_url: WORKLOAD.to_owned(),
            nonce,
            removed_resources: Vec::new(),
        })
    }
}
