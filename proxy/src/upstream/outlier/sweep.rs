//! The part of outlier detection that time drives: ends of ejections, comparison of success rates.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::streaks::Volume;
use super::success_rate::outliers;
use super::{Cause, Comparison, Detection};
use crate::upstream::destination::{Destination, Destinations};
use crate::upstream::endpoint::Member;
use crate::upstream::health::Ailment;

/// Time between two looks, by which an ejection can last longer than it should. A look at a
/// destination without an ejection is one lock that nobody else wants.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The destinations of a generation whose endpoints can be ejected.
#[derive(Debug, Default)]
pub(crate) struct Sweep(Vec<Arc<Destination>>);

// === impl Sweep ===

impl Sweep {
    /// Those of `destinations`. Whoever was ejected where nobody can be any more is back at once.
    pub(crate) fn of(destinations: &Destinations) -> Self {
        let mut watched = Vec::new();
        for destination in destinations.iter() {
            match destination.policy.outlier {
                Some(_) => watched.push(Arc::clone(destination)),
                None => destination.live.ejections.close(destination),
            }
        }
        Self(watched)
    }

    /// Whether there is nothing to look at.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at every destination once.
    pub(crate) fn look(&self, now: Instant) {
        for destination in &self.0 {
            let Some(rules) = destination.policy.outlier.as_deref() else {
                continue;
            };
            let ejections = &destination.live.ejections;
            ejections.tend(rules, destination, now);
            if let Some(comparison) = rules.success_rate
                && ejections.interval_ends(rules.interval, now)
            {
                compare(rules, comparison, destination, now);
            }
        }
    }
}

/// Ejects endpoints that failed more often than the others in the interval that ends.
fn compare(rules: &Detection, comparison: Comparison, destination: &Destination, now: Instant) {
    let in_use = |member: &&Member| !member.endpoint.health.has(Ailment::Ejected);
    let members: Vec<&Member> = destination.members().iter().filter(in_use).collect();
    let volumes: Vec<Volume> = members
        .iter()
        .map(|member| member.endpoint.streaks.take_volume())
        .collect();
    for at in outliers(&volumes, comparison) {
        let ejections = &destination.live.ejections;
        let endpoint = &members[at].endpoint;
        ejections.eject(rules, destination, endpoint, Cause::SuccessRate, now);
    }
}
