//! The label sets that were interned, by number.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::telemetry::labels::{Reporter, Traffic, TrafficId};

/// Label sets that may be interned. They are never forgotten, because series and requests under way
/// refer to them; one costs about 0.3 KiB.
const TRAFFICS_MAX: usize = 65_536;
const OVERFLOW: &str = "overflow";

/// Labels of a request that are known before it ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    /// Which side speaks.
    pub(super) reporter: Reporter,
    /// Who answers.
    pub(super) traffic: Traffic,
}

/// All label sets.
#[derive(Debug)]
pub(super) struct Traffics {
    by_id: Vec<Arc<Labels>>,
    ids: FxHashMap<Arc<Labels>, TrafficId>,
    /// Each value once: most label sets differ in few of them.
    values: FxHashSet<Arc<str>>,
}

// === impl Traffics ===

impl Traffics {
    /// Only what has a constant number.
    pub(super) fn new() -> Self {
        let mut traffics = Self {
            by_id: Vec::new(),
            ids: FxHashMap::default(),
            values: FxHashSet::default(),
        };
        let unknown = traffics.push(Reporter::Source, Traffic::unknown());
        let source = traffics.push(Reporter::Source, Traffic::uniform(OVERFLOW));
        let destination = traffics.push(Reporter::Destination, Traffic::uniform(OVERFLOW));
        debug_assert_eq!(unknown, TrafficId::UNKNOWN);
        debug_assert_eq!(source, TrafficId::OVERFLOW_SOURCE);
        debug_assert_eq!(destination, TrafficId::OVERFLOW_DESTINATION);
        traffics
    }

    /// The number of these labels.
    pub(super) fn intern(&mut self, reporter: Reporter, traffic: Traffic) -> TrafficId {
        let labels = Labels { reporter, traffic };
        if let Some(id) = self.ids.get(&labels) {
            return *id;
        }
        if self.by_id.len() >= TRAFFICS_MAX {
            return overflow(reporter);
        }
        self.push(reporter, labels.traffic)
    }

    /// The labels with this number. Numbers are given out here, so none is missing; if one were,
    /// its requests would count as unknown.
    pub(super) fn labels(&self, id: TrafficId) -> Arc<Labels> {
        Arc::clone(self.by_id.get(id.0 as usize).unwrap_or(&self.by_id[0]))
    }

    fn push(&mut self, reporter: Reporter, traffic: Traffic) -> TrafficId {
        let labels = Arc::new(Labels {
            reporter,
            traffic: self.share(traffic),
        });
        let id = TrafficId(u32::try_from(self.by_id.len()).unwrap_or(u32::MAX));
        self.by_id.push(Arc::clone(&labels));
        self.ids.insert(labels, id);
        id
    }

    fn share(&mut self, traffic: Traffic) -> Traffic {
        let mut value = |value: Arc<str>| match self.values.get(&value) {
            Some(known) => Arc::clone(known),
            None => {
                self.values.insert(Arc::clone(&value));
                value
            }
        };
        Traffic {
            destination_service: value(traffic.destination_service),
            destination_service_name: value(traffic.destination_service_name),
            destination_service_namespace: value(traffic.destination_service_namespace),
            destination_workload: value(traffic.destination_workload),
            destination_workload_namespace: value(traffic.destination_workload_namespace),
            destination_app: value(traffic.destination_app),
            destination_version: value(traffic.destination_version),
            destination_canonical_service: value(traffic.destination_canonical_service),
            destination_canonical_revision: value(traffic.destination_canonical_revision),
            destination_principal: value(traffic.destination_principal),
            destination_cluster: value(traffic.destination_cluster),
            source_principal: value(traffic.source_principal),
        }
    }
}

/// The number of the overflow series of `reporter`.
pub(super) fn overflow(reporter: Reporter) -> TrafficId {
    match reporter {
        Reporter::Source => TrafficId::OVERFLOW_SOURCE,
        Reporter::Destination => TrafficId::OVERFLOW_DESTINATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_have_the_same_number() {
        let mut traffics = Traffics::new();
        let traffic = || Traffic::to_service("reviews", "default");

        let source = traffics.intern(Reporter::Source, traffic());
        let destination = traffics.intern(Reporter::Destination, traffic());

        assert_eq!(traffics.intern(Reporter::Source, traffic()), source);
        assert_ne!(source, destination);
        assert_eq!(
            traffics.intern(Reporter::Source, Traffic::unknown()),
            TrafficId::UNKNOWN
        );
    }

    #[test]
    fn too_many_label_sets_share_one_number_per_reporter() {
        let mut traffics = Traffics::new();
        let mut intern = |reporter, name: usize| {
            traffics.intern(reporter, Traffic::to_service(&name.to_string(), ""))
        };
        for name in 0..TRAFFICS_MAX - 3 {
            intern(Reporter::Source, name);
        }

        assert_eq!(
            intern(Reporter::Source, TRAFFICS_MAX),
            TrafficId::OVERFLOW_SOURCE
        );
        assert_eq!(
            intern(Reporter::Destination, TRAFFICS_MAX),
            TrafficId::OVERFLOW_DESTINATION
        );
        assert_eq!(intern(Reporter::Source, 0), TrafficId(3));
    }
}
