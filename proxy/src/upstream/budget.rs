//! How many retries may be under way to one destination, over all workers.
//!
//! Retries multiply the load of a service that fails, at the moment when it can take it least. A
//! share of the requests, unlike a fixed number, lets a busy service repeat more than an idle one and
//! never adds more than that share to its load.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::table::retry::Cause;
use crate::upstream::destination::Destination;

/// Share of the requests when nothing is said, in millionths.
pub const SHARE_DEFAULT: u32 = 200_000;
/// Retries that are always allowed when nothing is said.
pub const RETRIES_MIN_DEFAULT: u32 = 3;
/// Parts of an interval that are forgotten one by one.
const PARTS: u64 = 10;
/// One part is being filled while the others are whole.
const SLOTS: usize = PARTS as usize + 1;

/// What limits the retries to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryLimit {
    /// Nothing is written: a share that counts only what the upstream may have begun to process.
    /// What it provably did not see adds no work, and hiding it is what retries are for.
    Standard,
    /// `connectionPool.http.maxRetries`: so many at a time.
    Count(u32),
    /// `retryBudget`: a share of the requests.
    Share(Share),
}

/// A share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// In millionths.
    pub millionths: u32,
    /// Retries that are always allowed.
    pub retries_min: u32,
    /// Time over which new requests count beside those that are under way.
    pub interval: Option<Duration>,
}

/// The retries to one destination; outlives reloads.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    active: AtomicU32,
    refused: AtomicU64,
}

/// Counts a retry as under way until dropped.
#[derive(Debug)]
pub(crate) struct Retrying(Arc<Retries>);

/// The requests of the last while, counted by all workers without a lock.
#[derive(Debug)]
pub(crate) struct Window {
    part: Duration,
    began: Instant,
    /// Number of a part in the upper half and its requests in the lower one.
    slots: [AtomicU64; SLOTS],
}

// === impl RetryLimit ===

impl RetryLimit {
    /// How many retries may be under way while there are `requests`.
    pub fn allowed(&self, requests: u64) -> u32 {
        match self {
            Self::Standard => Share::default().allowed(requests),
            Self::Count(most) => *most,
            Self::Share(share) => share.allowed(requests),
        }
    }

    /// Whether it counts retries for this cause.
    pub(crate) fn counts(&self, cause: Cause) -> bool {
        match self {
            Self::Standard => !cause.is_unprocessed(),
            Self::Count(_) | Self::Share(_) => true,
        }
    }

    /// Time over which new requests count.
    pub(crate) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Share(share) => share.interval,
            Self::Standard | Self::Count(_) => None,
        }
    }
}

impl fmt::Display for RetryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => {
                let standard = Share::default();
                write!(f, "{standard}, of what may have been processed")
            }
            Self::Count(most) => write!(f, "{most} at a time"),
            Self::Share(share) => share.fmt(f),
        }
    }
}

// === impl Share ===

impl Share {
    fn allowed(&self, requests: u64) -> u32 {
        let share = u128::from(requests) * u128::from(self.millionths) / 1_000_000;
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .max(self.retries_min)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self {
            millionths: SHARE_DEFAULT,
            retries_min: RETRIES_MIN_DEFAULT,
            interval: None,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = f64::from(self.millionths) / 10_000.0;
        write!(f, "{percent} % of requests, at least {}", self.retries_min)
    }
}

// === impl Retries ===

impl Retries {
    /// Counts a retry as under way if there are fewer than `allowed`.
    pub(crate) fn begin(self: &Arc<Self>, allowed: u32) -> Option<Retrying> {
        let more = |active: u32| (active < allowed).then_some(active + 1);
        let begun = self
            .active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match begun {
            Ok(_) => Some(Retrying(Arc::clone(self))),
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Retries under way that the limit counts.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Retries that were not made because of the limit.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

// === impl Retrying ===

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Window ===

impl Window {
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        let part = interval.div_f64(PARTS as f64);
        Self {
            part: part.max(Duration::from_nanos(1)),
            began: now,
            slots: Default::default(),
        }
    }

    /// Whether it counts over `interval`.
    pub(crate) fn is_over(&self, interval: Duration) -> bool {
        self.part == Self::new(interval, self.began).part
    }

    /// Counts a request.
    pub(crate) fn add(&self, now: Instant) {
        let part = self.part_at(now);
        let slot = &self.slots[part as usize % SLOTS];
        let more = |held: u64| {
            let same = held >> 32 == u64::from(part);
            Some(if same && held as u32 != u32::MAX {
                held + 1
            } else if same {
                held
            } else {
                u64::from(part) << 32 | 1
            })
        };
        // The closure always gives a value, so that this cannot fail.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Requests of the last interval, to a tenth of it.
    pub(crate) fn count(&self, now: Instant) -> u64 {
        let part = u64::from(self.part_at(now));
        let recent = |held: &u64| held >> 32 <= part && (held >> 32) + PARTS > part;
        let held = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        held.filter(recent)
            .map(|held| held & u64::from(u32::MAX))
            .sum()
    }

    /// Number of the part at `now`; wraps with the half of a slot.
    fn part_at(&self, now: Instant) -> u32 {
        let parts = now.saturating_duration_since(self.began).as_nanos() / self.part.as_nanos();
        parts as u32
    }
}

// === impl Destination ===

impl Destination {
    /// Counts a request that is new, where that matters.
    pub(crate) fn count_request(&self) {
        if let Some(window) = &self.window {
            window.add(Instant::now());
        }
    }

    /// Retries that may be under way at this moment.
    pub(crate) fn retries_allowed(&self) -> u32 {
        let active = || {
            let active = self.members().iter().map(|it| it.endpoint.active());
            active.map(u64::from).sum::<u64>()
        };
        let new = || {
            let window = self.window.as_ref();
            window.map_or(0, |window| window.count(Instant::now()))
        };
        match &self.policy.retries {
            limit @ RetryLimit::Count(_) => limit.allowed(0),
            limit @ (RetryLimit::Standard | RetryLimit::Share(_)) => {
                limit.allowed(active() + new())
            }
        }
    }
}

#[cfg(test)]
mod tests;
