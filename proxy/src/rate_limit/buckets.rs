//! Where the state of buckets is kept: one for all requests, or one for each key.
//!
//! Keys come from requests, so that their number is bounded: [`KEYS_MAX`] of 16 bytes per limit, and
//! [`PLACES_MAX`] of all limits together. A bucket that is full again equals one that was never used,
//! so that it makes room without any effect. Only when more keys than fit are in use at once, the one
//! that comes nearest to that is forgotten, and counted.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

use super::gcra::{Rate, Receipt};

/// Most keys of one limit whose buckets are kept: 16 MiB. Must be a multiple of `SHARDS * WAYS`.
pub const KEYS_MAX: usize = 1 << 20;
/// Most places of all limits of a proxy: 64 MiB. Beyond, tables have no more than their first places,
/// 8 KiB each.
pub const PLACES_MAX: usize = 4 * KEYS_MAX;
/// Parts of a table, each with a lock of its own.
const SHARDS: usize = 64;
/// Places in which one key can be.
const WAYS: usize = 8;
/// Most sets of a shard.
const SETS_MAX: usize = KEYS_MAX / SHARDS / WAYS;

/// One bucket, which workers change without a lock. In a cache line of its own: another limit's
/// requests are not to wait for it.
///
/// Its numbers are its own and not those of a request's generation, so that they change for everybody
/// at once. What is decided within the few instructions of the change may be counted by the interval
/// of the other numbers; nothing holds requests up meanwhile.
#[derive(Debug)]
#[repr(align(64))]
pub struct Bucket {
    full_at: AtomicU64,
    /// The numbers that `full_at` is reckoned with, of a [`Rate`].
    interval: AtomicU64,
    fill: AtomicU64,
}

/// Places that all tables of a proxy share.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    taken: AtomicUsize,
}

/// A bucket for each key.
#[derive(Debug)]
pub struct KeyTable {
    /// Random, so that nobody can choose keys that fall into one set.
    seed: RandomState,
    /// Held for a few dozen instructions, or while a shard grows (at most 11 times, at most 128 KiB
    /// to move) or gets other numbers (at most 16 384 divisions, less than 1 ms).
    shards: [Mutex<Shard>; SHARDS],
    /// Keys that were forgotten before their buckets were full.
    evicted: IntCounter,
    /// Where places come from, and return to when the table is dropped.
    budget: Arc<Budget>,
}

/// A key by its hash. Two keys of one hash would share a bucket; of a million keys in use two have
/// one hash with a probability of 1 in 36 million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

/// Makes a [`Key`] of its parts.
#[derive(Debug)]
pub struct KeyHasher(<RandomState as std::hash::BuildHasher>::Hasher);

/// Sets of [`WAYS`] places; their number is a power of two.
#[derive(Debug)]
struct Shard {
    /// The numbers that its places are reckoned with.
    rate: Rate,
    places: Vec<Place>,
}

/// A key and when its bucket is full.
type Place = (Key, u64);

const FREE: Place = (Key(0), 0);

// === impl Bucket ===

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self {
            full_at: AtomicU64::new(0),
            interval: AtomicU64::new(rate.interval),
            fill: AtomicU64::new(rate.fill),
        }
    }

    /// Takes one request.
    ///
    /// # Errors
    ///
    /// The nanoseconds until one may pass, if none may now.
    pub fn take(&self, now: u64) -> Result<Receipt, u64> {
        let mut full_at = self.full_at();
        loop {
            let receipt = self.rate().take(full_at, now)?;
            let swapped = self.full_at.compare_exchange_weak(
                full_at,
                receipt.full_at,
                Ordering::Release,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return Ok(receipt),
                Err(other) => full_at = other,
            }
        }
    }

    /// Whether one request could be taken.
    ///
    /// # Errors
    ///
    /// The nanoseconds until one may pass, if none may now.
    pub fn look(&self, now: u64) -> Result<(), u64> {
        let full_at = self.full_at();
        self.rate().take(full_at, now).map(drop)
    }

    /// Requests that may pass now.
    pub fn left(&self, now: u64) -> u64 {
        let full_at = self.full_at();
        self.rate().left(full_at, now)
    }

    /// Has other numbers from now on; what was used stays used. Must not be called twice at a time.
    pub fn change(&self, rate: Rate, now: u64) {
        let old = self.rate();
        if old == rate {
            return;
        }
        self.interval.store(rate.interval, Ordering::Relaxed);
        self.fill.store(rate.fill, Ordering::Relaxed);
        let convert = |full_at| Some(rate.converted(old, full_at, now));
        // Who sees the state that this makes sees the numbers, too.
        let _ = self
            .full_at
            .fetch_update(Ordering::Release, Ordering::Relaxed, convert);
    }

    fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Acquire)
    }

    /// To be read after the state that it is for.
    fn rate(&self) -> Rate {
        Rate {
            interval: self.interval.load(Ordering::Relaxed),
            fill: self.fill.load(Ordering::Relaxed),
        }
    }

    /// Gives a request back that was refused elsewhere. One that was taken under other numbers gives
    /// back no more than a request is now.
    pub fn give_back(&self, receipt: Receipt, now: u64) {
        let refund = receipt.refund(now).min(self.rate().interval);
        // One refund is never generous. Two that overlap can be, by less than one request: the other
        // one's debt may have been the time in which this one's ran off.
        let reduce = |full_at: u64| Some(full_at.saturating_sub(refund));
        let _ = self
            .full_at
            .fetch_update(Ordering::Release, Ordering::Relaxed, reduce);
    }
}

// === impl Budget ===

impl Budget {
    /// A budget of `most` places.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: AtomicUsize::new(0),
        }
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes places for a table that has none, whatever is left: it cannot do without.
    fn begin(&self, places: usize) {
        self.taken.fetch_add(places, Ordering::Relaxed);
    }

    /// Takes more places, if as many are left.
    fn take(&self, places: usize) -> bool {
        let more = |taken: usize| {
            let taken = taken.saturating_add(places);
            (taken <= self.most).then_some(taken)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, places: usize) {
        self.taken.fetch_sub(places, Ordering::Relaxed);
    }
}

// === impl KeyTable ===

impl KeyTable {
    /// A table without a key; `evicted` counts keys that are forgotten before their buckets are full.
    pub fn new(rate: Rate, evicted: IntCounter, budget: Arc<Budget>) -> Self {
        budget.begin(SHARDS * WAYS);
        Self {
            seed: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(1, rate))),
            evicted,
            budget,
        }
    }

    /// Begins a key of this table.
    pub fn key(&self) -> KeyHasher {
        KeyHasher(self.seed.build_hasher())
    }

    /// Takes one request of `key`.
    ///
    /// # Errors
    ///
    /// The nanoseconds until one may pass, if none may now.
    pub fn take(&self, key: Key, now: u64) -> Result<Receipt, u64> {
        let mut shard = self.shard(key);
        let rate = shard.rate;
        if let Some(place) = shard.find(key) {
            let receipt = rate.take(place.1, now)?;
            place.1 = receipt.full_at;
            return Ok(receipt);
        }
        let receipt = rate.take(0, now)?;
        if shard.put((key, receipt.full_at), now, &self.budget) {
            self.evicted.inc();
        }
        Ok(receipt)
    }

    /// Whether one request of `key` could be taken.
    ///
    /// # Errors
    ///
    /// The nanoseconds until one may pass, if none may now.
    pub fn look(&self, key: Key, now: u64) -> Result<(), u64> {
        let mut shard = self.shard(key);
        let rate = shard.rate;
        let full_at = shard.find(key).map_or(0, |place| place.1);
        rate.take(full_at, now).map(drop)
    }

    /// Gives a request back that was refused elsewhere. One that was taken under other numbers gives
    /// back no more than a request is now.
    pub fn give_back(&self, key: Key, receipt: Receipt, now: u64) {
        let mut shard = self.shard(key);
        let refund = receipt.refund(now).min(shard.rate.interval);
        if let Some(place) = shard.find(key) {
            place.1 = place.1.saturating_sub(refund);
        }
    }

    /// Has other numbers from now on; what was used of each key stays used.
    pub fn change(&self, rate: Rate, now: u64) {
        for shard in &self.shards {
            locked(shard).change(rate, now);
        }
    }

    /// Keys whose buckets are not full at `now`.
    pub fn used(&self, now: u64) -> usize {
        let used = |shard: &Mutex<Shard>| {
            let shard = locked(shard);
            shard.places.iter().filter(|place| place.1 > now).count()
        };
        self.shards.iter().map(used).sum()
    }

    /// Keys that were forgotten before their buckets were full.
    pub fn evicted(&self) -> u64 {
        self.evicted.get()
    }

    /// Bytes that the places of all keys take.
    pub fn bytes(&self) -> usize {
        self.places() * size_of::<Place>()
    }

    fn places(&self) -> usize {
        let places = |shard: &Mutex<Shard>| locked(shard).places.len();
        self.shards.iter().map(places).sum()
    }

    /// The upper bits choose the shard, the lower ones the set in it.
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let number = key.0 >> (u64::BITS - SHARDS.ilog2());
        locked(&self.shards[usize::try_from(number).unwrap_or(0)])
    }
}

impl Drop for KeyTable {
    fn drop(&mut self) {
        self.budget.give_back(self.places());
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl KeyHasher ===

impl KeyHasher {
    /// Adds a part; where it ends counts, too.
    pub fn part(&mut self, part: &[u8]) {
        self.0.write_usize(part.len());
        self.0.write(part);
    }

    /// The key of all parts.
    pub fn finish(self) -> Key {
        Key(self.0.finish())
    }
}

// === impl Shard ===

impl Shard {
    fn new(sets: usize, rate: Rate) -> Self {
        Self {
            rate,
            places: vec![FREE; sets * WAYS],
        }
    }

    fn sets(&self) -> usize {
        self.places.len() / WAYS
    }

    fn set(&mut self, key: Key) -> &mut [Place] {
        let number = usize::try_from(key.0 % self.sets() as u64).unwrap_or(0);
        &mut self.places[number * WAYS..][..WAYS]
    }

    fn find(&mut self, key: Key) -> Option<&mut Place> {
        self.set(key).iter_mut().find(|place| place.0 == key)
    }

    /// Puts a key that is not there in the place of one whose bucket is full, grows if there is
    /// none, and if it cannot takes the place of the one that will be full first. Whether it did.
    fn put(&mut self, new: Place, now: u64, budget: &Budget) -> bool {
        loop {
            let (sets, more) = (self.sets(), self.places.len());
            let first = self.set(new.0).iter_mut().min_by_key(|place| place.1);
            let Some(first) = first else { return false };
            let is_free = first.1 <= now;
            let grows = || sets < SETS_MAX && budget.take(more);
            if is_free || !grows() {
                *first = new;
                return !is_free;
            }
            self.grow(now);
        }
    }

    /// Has other numbers from now on. What is full stays so.
    fn change(&mut self, rate: Rate, now: u64) {
        let old = std::mem::replace(&mut self.rate, rate);
        if old != rate {
            for place in self.places.iter_mut().filter(|place| place.1 > now) {
                place.1 = rate.converted(old, place.1, now);
            }
        }
    }

    /// Doubles the sets. Each key goes to one of the two sets that its own becomes.
    fn grow(&mut self, now: u64) {
        let mut grown = Self::new(self.sets() * 2, self.rate);
        for place in self.places.iter().filter(|place| place.1 > now) {
            let free = grown.set(place.0).iter_mut().find(|free| free.1 <= now);
            if let Some(free) = free {
                *free = *place;
            }
        }
        *self = grown;
    }
}

#[cfg(test)]
mod tests;
