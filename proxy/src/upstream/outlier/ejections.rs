//! The ejections of one destination, shared by the workers and the control thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::ledger::{Ledger, State, Verdict};
use super::{Cause, Detection};
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::health::Ailment;

/// A ledger that keeps the health of endpoints in step with it.
#[derive(Debug, Default)]
pub(crate) struct Ejections {
    /// Held for one look at the members of the destination, without `await`. Workers take it only
    /// for an endpoint that failed once too often.
    book: Mutex<Book>,
    /// Whether there is anything to close: set before requests can see rules, so that a generation
    /// without any need not lock what was never used.
    in_use: AtomicBool,
}

/// The ledger, and whose health follows it.
#[derive(Debug, Default)]
struct Book {
    ledger: Ledger,
    /// The endpoints that are ejected, of whatever generation. Nobody asks for one that nobody else
    /// holds.
    out: FxHashMap<u64, Weak<Endpoint>>,
}

/// An ejection that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejected {
    pub(crate) cause: Cause,
    pub(crate) left: Duration,
}

/// What is known of an endpoint at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) ejected: Option<Ejected>,
    /// Ejections in a row that are remembered.
    pub(crate) times: u32,
}

// === impl Ejections ===

impl Ejections {
    /// Says that a generation will have rules.
    pub(crate) fn prepare(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    /// Ejects an endpoint of `destination`, if the limit allows it.
    pub(crate) fn eject(
        &self,
        rules: &Detection,
        destination: &Destination,
        endpoint: &Arc<Endpoint>,
        cause: Cause,
        now: Instant,
    ) {
        let members = destination.members().iter().map(|it| it.endpoint.id);
        let mut book = self.locked();
        let verdict = book.ledger.eject(endpoint.id, cause, rules, members, now);
        match verdict {
            Verdict::Ejected { time, times } => {
                book.out.insert(endpoint.id, Arc::downgrade(endpoint));
                endpoint.health.set(Ailment::Ejected);
                endpoint.streaks.reset();
                destination.live.changed();
                drop(book);
                tracing::info!(
                    destination = %destination.key,
                    endpoint = %endpoint.addr,
                    cause = cause.as_str(),
                    ?time,
                    times,
                    "endpoint ejected"
                );
            }
            Verdict::Prevented => {
                drop(book);
                tracing::debug!(
                    destination = %destination.key,
                    endpoint = %endpoint.addr,
                    cause = cause.as_str(),
                    "endpoint not ejected, as many are as may be"
                );
            }
            Verdict::Ignored => {}
        }
    }

    /// Ends the ejections that are over at `now`, or that the rules do not allow any more.
    pub(super) fn tend(&self, rules: &Detection, destination: &Destination, now: Instant) {
        self.prepare();
        let members = destination.members().iter().map(|it| it.endpoint.id);
        let mut book = self.locked();
        let Book { ledger, out } = &mut *book;
        out.retain(|_, endpoint| endpoint.strong_count() > 0);
        let back = ledger.tend(rules, members, |id| out.contains_key(&id), now);
        bring_back(book, &back, destination);
    }

    /// Ends all ejections: there are no rules any more.
    pub(super) fn close(&self, destination: &Destination) {
        // The control thread alone sets and resets it.
        if !self.in_use.load(Ordering::Relaxed) {
            return;
        }
        self.in_use.store(false, Ordering::Relaxed);
        let mut book = self.locked();
        let back = book.ledger.close();
        bring_back(book, &back, destination);
    }

    /// Whether another interval is over at `now`.
    pub(super) fn interval_ends(&self, interval: Duration, now: Instant) -> bool {
        self.locked().ledger.interval_ends(interval, now)
    }

    /// What is known of an endpoint at `now`.
    pub(crate) fn standing(&self, rules: &Detection, id: u64, now: Instant) -> Standing {
        let Some(entry) = self.locked().ledger.entry(id) else {
            return Standing::default();
        };
        let ejected = match entry.state {
            State::Ejected { cause, until } => Some(Ejected {
                cause,
                left: until.saturating_duration_since(now),
            }),
            State::Returned { .. } => None,
        };
        Standing {
            ejected,
            times: entry.times_left(rules, now),
        }
    }

    /// Ejections for a cause so far, and those that the limit did not allow.
    pub(crate) fn counts(&self, cause: Cause) -> (u64, u64) {
        self.locked().ledger.counts(cause)
    }

    /// Every change of the book is complete before anything that could panic.
    fn locked(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets those take requests again that the ledger says are back.
fn bring_back(mut book: MutexGuard<'_, Book>, back: &[u64], destination: &Destination) {
    if back.is_empty() {
        return;
    }
    let back: Vec<Arc<Endpoint>> = back
        .iter()
        .filter_map(|id| book.out.remove(id)?.upgrade())
        .collect();
    for endpoint in &back {
        endpoint.streaks.reset();
        endpoint.health.clear(Ailment::Ejected);
    }
    drop(book);
    destination.live.changed();
    for endpoint in back {
        let (key, addr) = (&destination.key, &endpoint.addr);
        tracing::info!(destination = %key, endpoint = %addr, "endpoint back from ejection");
    }
}

#[cfg(test)]
mod tests;
