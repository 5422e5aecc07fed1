//! How often somebody may do something: a generic cell rate (ITU-T I.371), as a function of time.
//!
//! All that is kept for each is one moment: until when what he did so far counts.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

#[cfg(test)]
mod tests;

/// So many at once, and one more for each time that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many may come at once; at least 1.
    pub(crate) burst: u32,
    /// After how long one more may.
    pub(crate) every: Duration,
}

/// How much of a rate is used: until when what came so far counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used(Instant);

/// One rate for each of many, who are told apart by a key.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    keys_max: usize,
    /// Held only while one is looked up.
    used: Mutex<ByKey<K>>,
}

#[derive(Debug)]
struct ByKey<K> {
    of: FxHashMap<K, Used>,
    /// Those for whom there is no room share one.
    others: Option<Used>,
}

// === impl Rate ===

impl Rate {
    /// Counts one more at `now`.
    ///
    /// # Errors
    ///
    /// After how long it may come, if it may not now.
    fn admit(self, used: Option<Used>, now: Instant) -> Result<Used, Duration> {
        let from = used.map_or(now, |used| used.0.max(now));
        let ahead = from.duration_since(now);
        let most = self.every * self.burst.saturating_sub(1);
        match ahead.checked_sub(most) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => Ok(Used(from + self.every)),
        }
    }
}

// === impl Limiter ===

impl<K: Hash + Eq> Limiter<K> {
    /// Knows at most `keys_max` that have something used.
    pub(crate) fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            rate,
            keys_max,
            used: Mutex::new(ByKey {
                of: FxHashMap::default(),
                others: None,
            }),
        }
    }

    /// Counts one more of `key` at `now`.
    ///
    /// # Errors
    ///
    /// After how long it may come, if it may not now.
    pub(crate) fn admit(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = used.of.len() < self.keys_max || used.of.contains_key(&key);
        if !has_room {
            // What counts no longer is the same as nothing.
            used.of.retain(|_, used| used.0 > now);
        }
        if used.of.len() < self.keys_max || used.of.contains_key(&key) {
            let admitted = self.rate.admit(used.of.get(&key).copied(), now)?;
            used.of.insert(key, admitted);
        } else {
            used.others = Some(self.rate.admit(used.others, now)?);
        }
        Ok(())
    }
}
