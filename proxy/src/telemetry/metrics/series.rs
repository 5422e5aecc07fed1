//! The counters of one worker for one combination of labels.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::metrics::Sample;

/// Buckets of every histogram, the last one without an upper bound.
pub(super) const BUCKETS: usize = 20;
/// Upper bounds of the buckets as `le` shows them: milliseconds, or bytes. Those of Envoy.
pub(super) const BOUNDS: [&str; BUCKETS] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf",
];
const BOUNDS_MICROS: [u64; BUCKETS - 1] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];
/// At most half a byte is no byte.
const BOUNDS_BYTES: [u64; BUCKETS - 1] = [
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
    600_000, 1_800_000, 3_600_000,
];

/// Counters that one worker writes and a scrape reads. On cache lines of its own, so that workers
/// do not slow each other down.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Series {
    /// The only worker that writes.
    pub(super) worker: u32,
    /// Stands for combinations of labels that had no place.
    pub(super) overflow: bool,
    /// The worker must ask for its series again before it uses this one.
    pub(super) stale: AtomicBool,
    requests: Counter,
    duration_micros: Distribution,
    request_bytes: Distribution,
    response_bytes: Distribution,
}

/// One of the histograms of a series.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    /// In milliseconds.
    Duration,
    /// In bytes.
    Request,
    /// In bytes.
    Response,
}

/// What the series of several workers add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Histogram {
    /// How many samples fell into each bucket.
    pub(super) buckets: [u64; BUCKETS],
    /// Sum of the samples, in the unit of the measure.
    pub(super) sum: f64,
}

#[derive(Debug, Default)]
struct Distribution {
    buckets: [Counter; BUCKETS],
    /// Sum of durations in microseconds wraps after 58 years of 10 000 requests at a time.
    sum: Counter,
}

/// A counter with a single writer: a load and a store instead of a locked addition.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

// === impl Series ===

impl Series {
    /// The series of `worker`, all zero.
    pub(super) fn of_labels(worker: u32) -> Self {
        Self::new(worker, false)
    }

    /// A series for combinations of labels that have no place. It is always stale: its user has to
    /// look whether a place became free.
    pub(super) fn of_overflow(worker: u32) -> Self {
        Self::new(worker, true)
    }

    fn new(worker: u32, overflow: bool) -> Self {
        Self {
            worker,
            overflow,
            stale: AtomicBool::new(overflow),
            requests: Counter::default(),
            duration_micros: Distribution::default(),
            request_bytes: Distribution::default(),
            response_bytes: Distribution::default(),
        }
    }

    /// Counts one request. Only its worker may call this.
    #[inline]
    pub(super) fn add(&self, sample: &Sample) {
        self.requests.add(1);
        self.duration_micros
            .add(micros(sample.duration), &BOUNDS_MICROS);
        self.request_bytes.add(sample.request_bytes, &BOUNDS_BYTES);
        self.response_bytes
            .add(sample.response_bytes, &BOUNDS_BYTES);
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.value()
    }

    /// Adds one of the histograms to `total`.
    pub(super) fn add_to(&self, total: &mut Histogram, measure: Measure) {
        let (distribution, per_unit) = match measure {
            Measure::Duration => (&self.duration_micros, 1e3),
            Measure::Request => (&self.request_bytes, 1.0),
            Measure::Response => (&self.response_bytes, 1.0),
        };
        for (total, bucket) in total.buckets.iter_mut().zip(&distribution.buckets) {
            *total += bucket.value();
        }
        total.sum += distribution.sum.value() as f64 / per_unit;
    }
}

/// Whole microseconds, rounded up, so that a sample above a bound never counts as below it.
#[inline]
fn micros(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000 + u64::from(duration.subsec_nanos().div_ceil(1_000))
}

// === impl Distribution ===

impl Distribution {
    #[inline]
    fn add(&self, value: u64, bounds: &[u64; BUCKETS - 1]) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }
}

// === impl Counter ===

impl Counter {
    #[inline]
    fn add(&self, count: u64) {
        self.0
            .store(self.value().wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
