//! Ejections and health checks by destination, read at each scrape from the destinations in use.
//!
//! So there is nothing to keep in step: a destination that is gone has no series, and their number is
//! bounded by the configuration.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Result};

use crate::snapshot::Publisher;
use crate::upstream::destination::Destination;
use crate::upstream::health::Ailment;
use crate::upstream::outlier::Cause;

/// Labels of a destination; all from configuration.
const DESTINATION: [&str; 3] = ["host", "port", "subset"];
const WITH_CAUSE: [&str; 4] = ["host", "port", "subset", "cause"];

/// The health of all destinations in use.
#[derive(Debug)]
pub(super) struct HealthCollector {
    publisher: Publisher,
    /// Never filled: what a scrape fills is its own, as there may be two at once.
    described: Families,
}

#[derive(Debug)]
struct Families {
    ejections: IntCounterVec,
    prevented: IntCounterVec,
    ejected: IntGaugeVec,
    failing: IntGaugeVec,
}

// === impl HealthCollector ===

impl HealthCollector {
    pub(super) fn new(publisher: Publisher) -> Result<Self> {
        Ok(Self {
            publisher,
            described: Families::new()?,
        })
    }
}

impl Collector for HealthCollector {
    fn desc(&self) -> Vec<&Desc> {
        let parts = self.described.parts().into_iter();
        parts.flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(families) = Families::new() else {
            return Vec::new();
        };
        for destination in self.publisher.current().destinations.iter() {
            families.add(destination);
        }
        let parts = families.parts().into_iter();
        parts.flat_map(Collector::collect).collect()
    }
}

// === impl Families ===

impl Families {
    fn new() -> Result<Self> {
        Ok(Self {
            ejections: IntCounterVec::new(
                Opts::new(
                    "meshproxy_outlier_ejections_total",
                    "Endpoints ejected because they failed.",
                ),
                &WITH_CAUSE,
            )?,
            prevented: IntCounterVec::new(
                Opts::new(
                    "meshproxy_outlier_ejections_prevented_total",
                    "Endpoints that failed and were not ejected because of maxEjectionPercent.",
                ),
                &WITH_CAUSE,
            )?,
            ejected: IntGaugeVec::new(
                Opts::new("meshproxy_outlier_ejected", "Endpoints that are ejected."),
                &DESTINATION,
            )?,
            failing: IntGaugeVec::new(
                Opts::new(
                    "meshproxy_health_checks_failing",
                    "Endpoints that fail their health check.",
                ),
                &DESTINATION,
            )?,
        })
    }

    /// Adds a destination. Two with the same labels, as a gateway can have beside the mesh, are added
    /// up. Causes show once there was one.
    fn add(&self, destination: &Destination) {
        let key = &destination.key;
        let port = key.port.to_string();
        let labels = [&*key.host, port.as_str(), &*key.subset];
        let suffering = |ailment| {
            let members = destination.members().iter();
            let count = members.filter(|member| member.endpoint.health.has(ailment));
            i64::try_from(count.count()).unwrap_or(i64::MAX)
        };
        if destination.policy.outlier.is_some() {
            let ejected = self.ejected.with_label_values(&labels);
            ejected.add(suffering(Ailment::Ejected));
            for cause in Cause::ALL {
                let (made, prevented) = destination.live.ejections.counts(cause);
                let labels = [labels[0], labels[1], labels[2], cause.as_str()];
                for (family, count) in [(&self.ejections, made), (&self.prevented, prevented)] {
                    if count > 0 {
                        family.with_label_values(&labels).inc_by(count);
                    }
                }
            }
        }
        if destination.policy.check.is_some() {
            let failing = self.failing.with_label_values(&labels);
            failing.add(suffering(Ailment::FailsChecks));
        }
    }

    fn parts(&self) -> [&dyn Collector; 4] {
        [
            &self.ejections,
            &self.prevented,
            &self.ejected,
            &self.failing,
        ]
    }
}
