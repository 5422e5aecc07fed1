//! Circuit breaker: how much of a destination this proxy uses at once, over all of its workers.
//!
//! The counts are exact. A place is taken before what it stands for exists and given back when it is
//! dropped, whatever ended it. Who finds all connections taken stands in one queue for all workers
//! and gets places in the order of coming; connections that rest are given up for those who wait.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, oneshot};

/// Requests to one destination that wait for a connection, where nothing else is said. Each holds a
/// few KiB.
pub const PENDING_MAX: u32 = 16_384;
/// How often in a row a connection may go to somebody who came later, because it can be used there as
/// it is and would have to be closed for the first of the queue.
const PASSED_OVER_MAX: u32 = 16;

/// What configuration allows; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// `tcp.maxConnections`: open connections, to all endpoints together.
    pub connections: Option<u32>,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection. Those whose own
    /// connection is being opened count where `connections` does not limit them.
    pub pending: Option<u32>,
    /// `http.http2MaxRequests`: requests that have a connection, HTTP/1.1 and HTTP/2.
    pub requests: Option<u32>,
}

/// Stands for no limit.
const UNLIMITED: u32 = u32::MAX;

/// Which limit a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// As many wait as may.
    #[error("pending requests")]
    Pending,
    /// As many are under way as may.
    #[error("active requests")]
    Requests,
    /// All connections were taken for as long as a connection may take to open.
    #[error("connections")]
    Connections,
}

/// The use of one destination; outlives reloads.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Most connections, as the newest configuration has it.
    limit: AtomicU32,
    /// Connections open or being opened.
    open: AtomicU32,
    /// Connections that end for somebody who waits and still have their place.
    ending: AtomicU32,
    /// Length of the queue, to be read without its lock.
    queued: AtomicU32,
    /// Requests that wait for a connection in one way or another.
    pending: AtomicU32,
    /// Requests under way; counted only where there is a limit.
    requests: AtomicU32,
    pending_overflows: AtomicU64,
    request_overflows: AtomicU64,
    /// Requests for which there was no connection in time.
    connection_overflows: AtomicU64,
    /// Taken only to open connections at the limit and to give up what somebody waits for.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By number, so that the first is who waits longest.
    waiting: BTreeMap<u64, oneshot::Sender<Grant>>,
    next: u64,
    /// How often in a row somebody was preferred to the first.
    passed_over: u32,
    /// Workers that may have connections to give up.
    bells: Vec<Weak<Bell>>,
}

/// What somebody gets who waited.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A place for a connection of its own.
    Place(Place),
    /// A connection of its own worker that became free.
    Connection,
}

/// Who gets a connection that became free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Who waits under this number, on the worker that has it.
    To(u64),
    /// Somebody who needs the place and not the connection.
    Elsewhere,
    /// Nobody waits any more.
    Nobody,
}

/// Wakes a worker to give up a connection that rests.
#[derive(Debug, Default)]
pub(crate) struct Bell(Notify);

/// Counts a connection as open until dropped; then the next of the queue has its place.
#[derive(Debug)]
pub(crate) struct Place(Arc<Breaker>);

/// Counts a connection as one that ends for somebody who waits, until dropped.
#[derive(Debug)]
pub(crate) struct Ending(Arc<Breaker>);

/// Counts a request as waiting until dropped.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Breaker>);

/// Counts a request as under way until dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Breaker>);

/// The use of a destination at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) connections: u32,
    pub(crate) pending: u32,
    pub(crate) requests: u32,
    pub(crate) pending_overflows: u64,
    pub(crate) request_overflows: u64,
    pub(crate) connection_overflows: u64,
}

// === impl Breaker ===

impl Breaker {
    /// Allows so many connections from now on. Who waits goes by the new limit at once.
    pub(crate) fn limit_connections(self: &Arc<Self>, limit: Option<u32>) {
        let limit = limit.unwrap_or(UNLIMITED);
        if self.limit.swap(limit, SeqCst) != limit {
            let spare = self.grant_places(&mut self.lock());
            drop(spare);
        }
    }

    /// Whether connections are limited: what rests may be wanted by others.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.load(SeqCst) != UNLIMITED
    }

    /// A place for one more connection if there are fewer than allowed and nobody waits for one.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Place> {
        if !self.is_limited() {
            self.open.fetch_add(1, SeqCst);
            return Some(Place(Arc::clone(self)));
        }
        match self.queued.load(SeqCst) {
            0 => self.open_below_limit(),
            _ => None,
        }
    }

    fn open_below_limit(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(SeqCst);
        count_below(&self.open, limit).then(|| Place(Arc::clone(self)))
    }

    /// Stands in the queue: a number, and what will be granted. Rings for connections that can be
    /// given up.
    pub(crate) fn stand(self: &Arc<Self>) -> (u64, oneshot::Receiver<Grant>) {
        let (granted, grant) = oneshot::channel();
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, granted);
        self.queued.fetch_add(1, SeqCst);
        queue.bells.retain(|bell| match bell.upgrade() {
            Some(bell) => {
                bell.0.notify_one();
                true
            }
            None => false,
        });
        // A place may have been given back before it could be seen that somebody waits.
        let spare = self.grant_places(&mut queue);
        drop(queue);
        drop(spare);
        (number, grant)
    }

    /// Leaves the queue, if still in it.
    pub(crate) fn leave(&self, number: u64) {
        if self.lock().waiting.remove(&number).is_some() {
            self.queued.fetch_sub(1, SeqCst);
        }
    }

    /// Whether there are more connections than allowed: the limit may have been higher before.
    pub(crate) fn exceeds(&self) -> bool {
        self.open.load(SeqCst) > self.limit.load(SeqCst)
    }

    /// Whether somebody waits for a connection.
    pub(crate) fn is_awaited(&self) -> bool {
        self.queued.load(SeqCst) > 0
    }

    /// Promises a connection that became free to the first of `own` who waits, unless others have
    /// been passed over too often.
    pub(crate) fn promise(&self, own: impl IntoIterator<Item = u64>) -> Promise {
        let mut queue = self.lock();
        let Some((&first, _)) = queue.waiting.first_key_value() else {
            return Promise::Nobody;
        };
        let mut own = own.into_iter();
        let number = match own.find(|number| queue.waiting.contains_key(number)) {
            Some(number) if number == first => {
                queue.passed_over = 0;
                number
            }
            Some(number) if queue.passed_over < PASSED_OVER_MAX => {
                queue.passed_over += 1;
                number
            }
            Some(_) | None => return Promise::Elsewhere,
        };
        if let Some(granted) = queue.waiting.remove(&number) {
            self.queued.fetch_sub(1, SeqCst);
            // Who stopped waiting has left the queue before, so that this arrives.
            let _ = granted.send(Grant::Connection);
        }
        Promise::To(number)
    }

    /// Leave to end one more connection, unless as many end as are waited for.
    pub(crate) fn end_one(self: &Arc<Self>) -> Option<Ending> {
        let wanted = self.queued.load(SeqCst);
        count_below(&self.ending, wanted).then(|| Ending(Arc::clone(self)))
    }

    /// Counts a request for which there was no connection in time.
    pub(crate) fn gave_up(&self) -> Overflow {
        self.connection_overflows.fetch_add(1, Relaxed);
        Overflow::Connections
    }

    /// Whether as many requests are under way as may.
    pub(crate) fn is_busy(&self, thresholds: &Thresholds) -> bool {
        let limit = thresholds.requests;
        limit.is_some_and(|limit| self.requests.load(SeqCst) >= limit)
    }

    /// Has `bell` rung when somebody waits for what its worker may give up.
    pub(crate) fn ring(&self, bell: &Arc<Bell>) {
        let mut queue = self.lock();
        let known = |it: &Weak<Bell>| std::ptr::eq(it.as_ptr(), Arc::as_ptr(bell));
        if !queue.bells.iter().any(known) {
            queue.bells.push(Arc::downgrade(bell));
        }
    }

    /// Counts a request as waiting for a connection.
    pub(crate) fn pend(self: &Arc<Self>, thresholds: &Thresholds) -> Result<Pending, Overflow> {
        let limit = thresholds.pending.unwrap_or(PENDING_MAX);
        if count_below(&self.pending, limit) {
            return Ok(Pending(Arc::clone(self)));
        }
        self.pending_overflows.fetch_add(1, Relaxed);
        Err(Overflow::Pending)
    }

    /// Counts a request that has a connection as under way; not at all where nothing limits them.
    pub(crate) fn begin(
        self: &Arc<Self>,
        thresholds: &Thresholds,
    ) -> Result<Option<UnderWay>, Overflow> {
        let Some(limit) = thresholds.requests else {
            return Ok(None);
        };
        if count_below(&self.requests, limit) {
            return Ok(Some(UnderWay(Arc::clone(self))));
        }
        self.request_overflows.fetch_add(1, Relaxed);
        Err(Overflow::Requests)
    }

    /// The use at this moment.
    pub(crate) fn in_use(&self) -> Use {
        Use {
            connections: self.open.load(Relaxed),
            pending: self.pending.load(Relaxed),
            requests: self.requests.load(Relaxed),
            pending_overflows: self.pending_overflows.load(Relaxed),
            request_overflows: self.request_overflows.load(Relaxed),
            connection_overflows: self.connection_overflows.load(Relaxed),
        }
    }

    /// Grants places to the first of the queue for as long as there are any. A place that nobody
    /// took is for the caller to drop, without the lock.
    fn grant_places(self: &Arc<Self>, queue: &mut Queue) -> Option<Place> {
        let mut spare = None;
        while let Some(first) = queue.waiting.first_entry() {
            let place = spare.take().or_else(|| self.open_below_limit());
            let place = place?;
            let granted = first.remove();
            self.queued.fetch_sub(1, SeqCst);
            queue.passed_over = 0;
            if let Err(Grant::Place(place)) = granted.send(Grant::Place(place)) {
                spare = Some(place);
            }
        }
        spare
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock can leave the queue half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(UNLIMITED),
            open: AtomicU32::default(),
            ending: AtomicU32::default(),
            queued: AtomicU32::default(),
            pending: AtomicU32::default(),
            requests: AtomicU32::default(),
            pending_overflows: AtomicU64::default(),
            request_overflows: AtomicU64::default(),
            connection_overflows: AtomicU64::default(),
            queue: Mutex::default(),
        }
    }
}

/// Counts one more unless there are `limit`; says whether it did.
fn count_below(count: &AtomicU32, limit: u32) -> bool {
    let more = |count: u32| (count < limit).then(|| count + 1);
    count.fetch_update(SeqCst, SeqCst, more).is_ok()
}

// === impl Bell ===

impl Bell {
    /// Waits until it is rung; a ring before that counts.
    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let breaker = &self.0;
        breaker.open.fetch_sub(1, SeqCst);
        if breaker.is_awaited() {
            let spare = breaker.grant_places(&mut breaker.lock());
            drop(spare);
        }
    }
}

// === impl Ending ===

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.fetch_sub(1, SeqCst);
    }
}

// === impl Pending ===

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, SeqCst);
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, SeqCst);
    }
}
