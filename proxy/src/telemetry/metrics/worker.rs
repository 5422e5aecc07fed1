//! The recording side of one worker.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::telemetry::labels::TrafficId;
use crate::telemetry::metrics::series::Series;
use crate::telemetry::metrics::{Metrics, Outcome, OutcomeKey, Sample};

/// Outcomes that a worker finds by itself for one label set. An upstream can make up more of them;
/// then a request costs a lock and a hash instead of an ever longer search.
const OUTCOMES_MAX: usize = 64;

/// Records the requests of one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    worker: u32,
    /// By number of the label set.
    slots: RefCell<Vec<Slot>>,
    /// State of `Metrics::freed` when this worker last looked for places.
    freed: Cell<u64>,
}

/// The series of one label set by outcome. Nearly always the last one is asked for again.
#[derive(Debug, Default)]
struct Slot {
    last: usize,
    series: Vec<(OutcomeKey, Arc<Series>)>,
}

// === impl WorkerMetrics ===

impl WorkerMetrics {
    pub(super) fn new(metrics: Arc<Metrics>, worker: u32) -> Self {
        Self {
            metrics,
            worker,
            slots: RefCell::new(Vec::new()),
            freed: Cell::new(0),
        }
    }

    /// All metrics of the process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Records one request at its end.
    #[inline]
    pub fn record(&self, traffic: TrafficId, outcome: Outcome, sample: Sample) {
        let key = OutcomeKey::of(&outcome);
        if let Some(slot) = self.slots.borrow_mut().get_mut(traffic.0 as usize)
            && let Some(series) = slot.find(key)
            && !series.stale.load(Ordering::Relaxed)
        {
            return series.add(&sample);
        }
        self.record_new(traffic, key, &sample);
    }

    /// Records one request whose labels are new to this worker, were retired, or had no place.
    #[cold]
    fn record_new(&self, traffic: TrafficId, key: OutcomeKey, sample: &Sample) {
        let mut slots = self.slots.borrow_mut();
        let freed = self.metrics.freed.load(Ordering::Relaxed);
        if self.freed.replace(freed) != freed {
            slots.iter_mut().for_each(Slot::forget_stale);
        }
        let place = traffic.0 as usize;
        if slots.len() <= place {
            slots.resize_with(place + 1, Slot::default);
        }
        let slot = &mut slots[place];
        if let Some(series) = slot.find(key)
            && series.overflow
        {
            return series.add(sample);
        }
        let series = self.metrics.series(self.worker, traffic, key);
        series.add(sample);
        slot.put(key, series);
    }
}

// === impl Slot ===

impl Slot {
    #[inline]
    fn find(&mut self, key: OutcomeKey) -> Option<&Series> {
        if self
            .series
            .get(self.last)
            .is_none_or(|(known, _)| *known != key)
        {
            self.last = self.series.iter().position(|(known, _)| *known == key)?;
        }
        self.series.get(self.last).map(|(_, series)| &**series)
    }

    fn put(&mut self, key: OutcomeKey, series: Arc<Series>) {
        self.series.retain(|(known, _)| *known != key);
        if self.series.len() >= OUTCOMES_MAX {
            self.series.remove(0);
        }
        self.series.push((key, series));
        self.last = self.series.len() - 1;
    }

    fn forget_stale(&mut self) {
        self.series
            .retain(|(_, series)| !series.stale.load(Ordering::Relaxed));
        self.series.shrink_to_fit();
        self.last = 0;
    }
}
