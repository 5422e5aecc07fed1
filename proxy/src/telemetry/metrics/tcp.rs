//! Counters of connections that are not HTTP, by their labels.
//!
//! Connections are rarer than requests and their bytes come in larger pieces, so that workers share
//! the counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::telemetry::flags::Flags;
use crate::telemetry::labels::{Reporter, TrafficId};
use crate::telemetry::metrics::traffics::{Labels, overflow};
use crate::telemetry::metrics::{SERIES_IDLE, locked};

/// Combinations of labels; more of them share one for each reporter. One costs about 4 KiB of every
/// scrape.
const PLACES_MAX: usize = 1_000;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct TcpSeries(Mutex<FxHashMap<Key, Place>>);

/// What tells one combination from another.
type Key = (TrafficId, u32);

#[derive(Debug)]
struct Place {
    labels: Arc<Labels>,
    counters: Arc<TcpCounters>,
    /// What was counted at the last scrape, and the first scrape that saw as much.
    seen: (u64, Instant),
}

/// The counters of one combination of labels.
#[derive(Debug, Default)]
pub struct TcpCounters {
    opened: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// What a scrape shows of one combination of labels.
#[derive(Debug)]
pub(super) struct TcpShown {
    pub(super) labels: Arc<Labels>,
    pub(super) flags: Flags,
    /// In the order of [`FAMILIES`].
    pub(super) values: [u64; 4],
}

/// Names and meanings of the counters.
pub(super) const FAMILIES: [(&str, &str); 4] = [
    (
        "istio_tcp_connections_opened_total",
        "Connections that are not HTTP, counted when they begin.",
    ),
    (
        "istio_tcp_connections_closed_total",
        "Connections that are not HTTP, counted when they end.",
    ),
    (
        "istio_tcp_received_bytes_total",
        "Bytes from downstream on connections that are not HTTP.",
    ),
    (
        "istio_tcp_sent_bytes_total",
        "Bytes to downstream on connections that are not HTTP.",
    ),
];

// === impl TcpSeries ===

impl TcpSeries {
    /// The counters for these labels.
    pub(super) fn counters(
        &self,
        traffic: TrafficId,
        flags: Flags,
        labels: impl Fn(TrafficId) -> Arc<Labels>,
        now: Instant,
    ) -> Arc<TcpCounters> {
        let mut places = locked(&self.0);
        let key = (traffic, flags.bits());
        if let Some(place) = places.get(&key) {
            return Arc::clone(&place.counters);
        }
        let (key, labels) = match places.len() < PLACES_MAX {
            true => (key, labels(traffic)),
            false => {
                let reporter: Reporter = labels(traffic).reporter;
                let shared = overflow(reporter);
                ((shared, 0), labels(shared))
            }
        };
        let place = places.entry(key).or_insert_with(|| Place {
            labels,
            counters: Arc::default(),
            seen: (0, now),
        });
        Arc::clone(&place.counters)
    }

    /// What a scrape shows, sorted. What nobody holds and nothing was counted in for a while is
    /// forgotten.
    pub(super) fn shown(&self, now: Instant) -> Vec<TcpShown> {
        let mut places = locked(&self.0);
        places.retain(|_, place| place.keep(now));
        let mut keyed: Vec<(&Key, &Place)> = places.iter().collect();
        keyed.sort_unstable_by_key(|(key, _)| **key);
        let shown = keyed.into_iter().map(|((_, flags), place)| TcpShown {
            labels: Arc::clone(&place.labels),
            flags: Flags::from_bits(*flags),
            values: place.counters.values(),
        });
        shown.collect()
    }
}

// === impl Place ===

impl Place {
    /// Takes note of a scrape; false if it is to be forgotten.
    fn keep(&mut self, now: Instant) -> bool {
        let counted = self.counters.values().iter().sum();
        let (seen, since) = self.seen;
        if seen != counted {
            self.seen = (counted, now);
            return true;
        }
        let idle = now.saturating_duration_since(since) >= SERIES_IDLE;
        !idle || Arc::strong_count(&self.counters) > 1
    }
}

// === impl TcpCounters ===

impl TcpCounters {
    /// Counts a connection that begins.
    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// Counts a connection that ends.
    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    /// Counts bytes from downstream and to it.
    pub(crate) fn passed(&self, received: u64, sent: u64) {
        if received > 0 {
            self.received.fetch_add(received, Relaxed);
        }
        if sent > 0 {
            self.sent.fetch_add(sent, Relaxed);
        }
    }

    fn values(&self) -> [u64; 4] {
        [&self.opened, &self.closed, &self.received, &self.sent].map(|it| it.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::labels::Traffic;
    use crate::telemetry::metrics::traffics::Traffics;

    #[test]
    fn too_many_combinations_share_one() {
        let (series, now) = (TcpSeries::default(), Instant::now());
        let mut traffics = Traffics::new();
        let ids: Vec<TrafficId> = (0..PLACES_MAX + 2)
            .map(|n| traffics.intern(Reporter::Source, Traffic::to_service(&n.to_string(), "")))
            .collect();
        let count = |id| series.counters(id, Flags::NONE, |id| traffics.labels(id), now);

        ids.iter().for_each(|id| count(*id).opened());

        let shown = series.shown(now);
        assert_eq!(shown.len(), PLACES_MAX + 1);
        let shared = shown
            .iter()
            .find(|it| it.values[0] == 2)
            .expect("a shared one");
        assert_eq!(&*shared.labels.traffic.destination_service, "overflow");
    }

    #[test]
    fn what_rests_is_forgotten_unless_a_connection_is_open() {
        let (series, start) = (TcpSeries::default(), Instant::now());
        let traffics = Traffics::new();
        let count =
            |flags| series.counters(TrafficId::UNKNOWN, flags, |id| traffics.labels(id), start);
        let open = count(Flags::NONE);
        open.opened();
        count(Flags::UF).opened();
        assert_eq!(series.shown(start).len(), 2);

        let later = start + SERIES_IDLE + Duration::from_secs(1);
        assert_eq!(series.shown(later).len(), 1);
        drop(open);
        assert_eq!(series.shown(later).len(), 0);
    }
}
