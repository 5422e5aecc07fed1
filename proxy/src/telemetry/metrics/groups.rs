//! All series that are shown, grouped by their labels.
//!
//! The workers' series of equal labels come and go together: if one idle worker's counters left the
//! sum, Prometheus would take it for a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::telemetry::labels::{Reporter, TrafficId};
use crate::telemetry::metrics::series::Series;
use crate::telemetry::metrics::traffics::Labels;
use crate::telemetry::metrics::{OutcomeKey, SERIES_IDLE};

/// What tells one group from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupKey {
    /// Labels that are known before a request ends.
    pub(super) traffic: TrafficId,
    /// Labels that its end decides.
    pub(super) outcome: OutcomeKey,
}

/// Every group.
#[derive(Debug)]
pub(super) struct Groups {
    places_max: usize,
    by_key: FxHashMap<GroupKey, Group>,
    /// Of the reporters source and destination.
    overflow: [Group; 2],
}

/// A group as a scrape shows it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) labels: Arc<Labels>,
    pub(super) outcome: OutcomeKey,
    pub(super) series: Vec<Arc<Series>>,
}

/// What a scrape shows, sorted by key, and the overflow.
#[derive(Debug)]
pub(super) struct AllShown {
    pub(super) groups: Vec<Shown>,
    /// Groups that take a place.
    pub(super) places: usize,
    /// Requests in the overflow.
    pub(super) overflow_requests: u64,
}

#[derive(Debug)]
struct Group {
    labels: Arc<Labels>,
    /// At most one per worker.
    series: Vec<Arc<Series>>,
    /// Requests at the last scrape, and the first scrape that saw as many.
    seen: Option<(u64, Instant)>,
    /// Its workers were told to ask again; it is removed if nobody did until the next scrape. In
    /// between it is complete, so that a request recorded while it is retired is not lost.
    retired: bool,
}

// === impl Groups ===

impl Groups {
    /// None yet, and at most `places_max`.
    pub(super) fn new(places_max: usize, overflow: [Arc<Labels>; 2]) -> Self {
        Self {
            places_max,
            by_key: FxHashMap::default(),
            overflow: overflow.map(Group::new),
        }
    }

    /// The series of `worker` in the group `key`, or in the overflow if there is no place.
    pub(super) fn series(
        &mut self,
        worker: u32,
        key: GroupKey,
        labels: Arc<Labels>,
    ) -> Arc<Series> {
        let uses_overflow = key.outcome == OutcomeKey::OVERFLOW;
        let full = self.by_key.len() >= self.places_max && !self.by_key.contains_key(&key);
        if full || uses_overflow {
            let group = &mut self.overflow[usize::from(labels.reporter == Reporter::Destination)];
            return group.series(worker, Series::of_overflow);
        }
        let group = self.by_key.entry(key).or_insert_with(|| Group::new(labels));
        group.revive();
        group.series(worker, Series::of_labels)
    }

    /// Removes the groups that were retired and stayed so, and retires those that are idle. True
    /// if places became free.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.by_key.len();
        self.by_key.retain(|_, group| group.keep(now));
        self.by_key.len() < before
    }

    /// What a scrape shows.
    pub(super) fn shown(&self) -> AllShown {
        let mut keyed: Vec<(GroupKey, &Group)> = self
            .by_key
            .iter()
            .map(|(key, group)| (*key, group))
            .collect();
        keyed.sort_unstable_by_key(|(key, _)| *key);
        let groups = keyed
            .into_iter()
            .map(|(key, group)| group.shown(key.outcome));
        let overflow = self
            .overflow
            .iter()
            .filter(|group| !group.series.is_empty());
        let overflow = overflow.map(|group| group.shown(OutcomeKey::OVERFLOW));
        AllShown {
            groups: groups.chain(overflow).collect(),
            places: self.by_key.len(),
            overflow_requests: self.overflow.iter().map(Group::requests).sum(),
        }
    }
}

// === impl Group ===

impl Group {
    fn new(labels: Arc<Labels>) -> Self {
        Self {
            labels,
            series: Vec::new(),
            seen: None,
            retired: false,
        }
    }

    fn requests(&self) -> u64 {
        self.series.iter().map(|series| series.requests()).sum()
    }

    fn series(&mut self, worker: u32, new: fn(u32) -> Series) -> Arc<Series> {
        if let Some(own) = self.series.iter().find(|series| series.worker == worker) {
            return Arc::clone(own);
        }
        let own = Arc::new(new(worker));
        self.series.push(Arc::clone(&own));
        own
    }

    /// Takes note of a scrape; false if the group is to be removed.
    fn keep(&mut self, now: Instant) -> bool {
        let requests = self.requests();
        match self.seen {
            Some((seen, _)) if seen == requests && self.retired => return false,
            Some((seen, since)) if seen == requests => {
                if now.saturating_duration_since(since) >= SERIES_IDLE {
                    self.retire();
                }
            }
            Some(_) | None => {
                self.seen = Some((requests, now));
                self.revive();
            }
        }
        true
    }

    fn retire(&mut self) {
        self.retired = true;
        self.series
            .iter()
            .for_each(|series| series.stale.store(true, Ordering::Relaxed));
    }

    fn revive(&mut self) {
        if self.retired {
            self.retired = false;
            self.series
                .iter()
                .for_each(|series| series.stale.store(false, Ordering::Relaxed));
        }
    }

    fn shown(&self, outcome: OutcomeKey) -> Shown {
        Shown {
            labels: Arc::clone(&self.labels),
            outcome,
            series: self.series.clone(),
        }
    }
}
