//! What there is of the mesh, counted when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts, Result};
use tokio::sync::watch;

use crate::index::Generation;

/// Kinds that are counted one by one; documents that name others are counted as `other`, as their
/// names are anybody's.
const KINDS: [&str; 14] = [
    "AuthorizationPolicy",
    "DestinationRule",
    "EndpointSlice",
    "Gateway",
    "MeshConfig",
    "PeerAuthentication",
    "RateLimitPolicy",
    "RequestAuthentication",
    "Secret",
    "Service",
    "ServiceEntry",
    "Sidecar",
    "VirtualService",
    "WorkloadEntry",
];

/// Numbers of resources, of those that are refused, and of the generation.
#[derive(Debug)]
pub struct MeshCollector {
    generations: watch::Receiver<Option<Arc<Generation>>>,
    generation: IntGauge,
    resources: IntGaugeVec,
    refused: IntGaugeVec,
}

// === impl MeshCollector ===

impl MeshCollector {
    /// What is to be registered once for the generations of an index.
    ///
    /// # Errors
    ///
    /// None while the names are legal.
    pub fn new(generations: watch::Receiver<Option<Arc<Generation>>>) -> Result<Self> {
        Ok(Self {
            generations,
            generation: IntGauge::new(
                "meshcontrol_generation",
                "Number of the generation of the mesh that proxies are told from.",
            )?,
            resources: IntGaugeVec::new(
                Opts::new("meshcontrol_resources", "Resources in use, by kind."),
                &["kind"],
            )?,
            refused: IntGaugeVec::new(
                Opts::new(
                    "meshcontrol_resources_refused",
                    "Resources that cannot be used as they are written, by kind.",
                ),
                &["kind"],
            )?,
        })
    }

    fn read(&self) {
        let generation = self.generations.borrow().clone();
        let Some(generation) = generation else {
            return;
        };
        let number = i64::try_from(generation.number).unwrap_or(i64::MAX);
        self.generation.set(number);
        show(
            &self.resources,
            generation.entries.keys().map(|it| &*it.kind),
        );
        show(&self.refused, generation.refused.keys().map(|it| &*it.kind));
    }
}

impl Collector for MeshCollector {
    fn desc(&self) -> Vec<&Desc> {
        let parts: [&dyn Collector; 3] = [&self.generation, &self.resources, &self.refused];
        parts.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        let parts: [&dyn Collector; 3] = [&self.generation, &self.resources, &self.refused];
        parts.into_iter().flat_map(Collector::collect).collect()
    }
}

/// Sets the number of each kind; one that is not there any more is 0.
fn show<'k>(gauges: &IntGaugeVec, kinds: impl Iterator<Item = &'k str>) {
    let mut numbers: BTreeMap<&str, i64> = KINDS.map(|kind| (kind, 0)).into();
    for kind in kinds {
        let known = KINDS.contains(&kind);
        *numbers
            .entry(if known { kind } else { "other" })
            .or_default() += 1;
    }
    for (kind, number) in numbers {
        gauges.with_label_values(&[kind]).set(number);
    }
}
