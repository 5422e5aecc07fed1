//! What requests want to reach that the table does not know, where a control plane can be asked.
//!
//! A request for a host that is in the table by its exact name, or a captured connection to an address
//! that is, never comes here: whatever is known so is complete. For everything else the control plane
//! is asked once, and the request is held, bounded, until the answer is in use. Answers are published
//! with the table that they go with, so that most requests find theirs without a lock.

mod used;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::wire::Demand;
use prometheus::{Histogram, IntCounterVec, IntGauge};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

pub use used::Used;

use crate::snapshot::Shared;

/// Most demands that may be without an answer at a time. One more is not asked.
pub(crate) const PENDING_MAX: usize = 512;
/// Most requests and connections that are held at a time. One more goes on as the table is.
const HELD_MAX: usize = 4_096;
/// How long nobody may be there who could answer until nobody waits for that.
const AWAY_MAX: Duration = Duration::from_secs(1);

/// Answers that are in use: part of a snapshot.
#[derive(Debug, Default)]
pub struct Answered {
    hosts: FxHashMap<Box<str>, Arc<Answer>>,
    addresses: FxHashMap<SocketAddr, Arc<Answer>>,
}

/// What became of a demand.
#[derive(Debug, Default)]
pub struct Answer {
    /// Whether the mesh has such a thing.
    pub found: bool,
    /// Whether anybody asked for it again.
    pub(crate) used: Used,
}

/// Where demands go: one end for the workers, the other for the control thread.
#[derive(Debug, Clone)]
pub struct Demands(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Never held across a wait, and never taken for what was answered.
    waiting: Mutex<Waiting>,
    /// Told when there is a demand that was not asked yet.
    asked: Notify,
    /// Told when other answers are in use.
    published: watch::Sender<()>,
    timeout: Duration,
    /// Since when there is no control plane; none while there is one.
    away: Shared<Option<Instant>>,
    counters: DemandCounters,
}

#[derive(Debug, Default)]
struct Waiting {
    pending: FxHashMap<Demand, Pending>,
    held: usize,
}

/// A demand without an answer.
#[derive(Debug)]
struct Pending {
    since: Instant,
    /// Whether the control thread knows of it.
    taken: bool,
}

/// What is counted of demands.
#[derive(Debug, Clone)]
pub struct DemandCounters {
    /// Requests and connections that are held now.
    pub(crate) held: IntGauge,
    /// Those that were held, by what became of it.
    pub(crate) outcomes: IntCounterVec,
    /// From the demand to its answer being in use.
    pub(crate) answer_seconds: Histogram,
}

/// What became of a request that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer is in use.
    Answered,
    /// There was none in time.
    TimedOut,
    /// There is no control plane.
    Away,
    /// Too many are held, or too much was demanded.
    Full,
}

/// Counts a request as held until dropped.
struct Held<'d>(&'d Demands);

// === impl Answered ===

impl Answered {
    /// These answers.
    pub(crate) fn new<'a>(answers: impl Iterator<Item = (&'a Demand, &'a Arc<Answer>)>) -> Self {
        let mut answered = Self::default();
        for (demand, answer) in answers {
            let answer = Arc::clone(answer);
            match demand {
                Demand::Host(name) => drop(answered.hosts.insert(name.clone(), answer)),
                Demand::Address(addr) => drop(answered.addresses.insert(*addr, answer)),
            }
        }
        answered
    }

    /// Whether a demand was answered.
    pub(crate) fn has(&self, demand: &Demand) -> bool {
        match demand {
            Demand::Host(name) => self.hosts.contains_key(name),
            Demand::Address(addr) => self.addresses.contains_key(addr),
        }
    }

    /// Notes that somebody asked for it again.
    #[cfg(test)]
    pub(crate) fn note(&self, demand: &Demand) {
        let answer = match demand {
            Demand::Host(name) => self.hosts.get(name),
            Demand::Address(addr) => self.addresses.get(addr),
        };
        answer.into_iter().for_each(|it| it.used.note());
    }
}

// === impl Demands ===

impl Demands {
    /// Without any; requests are held for at most `timeout`, and not at all if that is zero.
    pub fn new(timeout: Duration, counters: DemandCounters) -> Self {
        let away = Shared::default();
        away.replace(Some(Instant::now()));
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            asked: Notify::new(),
            published: watch::Sender::new(()),
            timeout,
            away,
            counters,
        }))
    }

    fn away_since(&self) -> Option<Instant> {
        self.0.away.read(|it| it.copied().flatten())
    }

    /// Notes whether there is a control plane that answers.
    pub(crate) fn note_connected(&self, is_connected: bool) {
        match is_connected {
            true => self.0.away.replace(None),
            // It has been away since the first time that it was found so.
            false if self.away_since().is_none() => self.0.away.replace(Some(Instant::now())),
            false => {}
        }
    }

    /// The demand of a request for `host` at `port`, as written but for its port, which the table does
    /// not have by this name; none if it was answered, or is nothing that a mesh can have.
    pub(crate) fn of_host(&self, answered: &Answered, host: &str, port: u16) -> Option<Demand> {
        let name = host.strip_suffix('.').unwrap_or(host);
        let known = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => answered.hosts.get(name.to_ascii_lowercase().as_str()),
            false => answered.hosts.get(name),
        };
        if let Some(answer) = known {
            answer.used.note();
            return None;
        }
        match name.parse() {
            Ok(ip) => self.of_address(answered, SocketAddr::new(ip, port)),
            Err(_) => Demand::host(name),
        }
    }

    /// The demand of a connection that was going to `addr`, which the table does not have; none if it
    /// was answered.
    pub(crate) fn of_address(&self, answered: &Answered, addr: SocketAddr) -> Option<Demand> {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match answered.addresses.get(&addr) {
            Some(answer) => {
                answer.used.note();
                None
            }
            None => Some(Demand::Address(addr)),
        }
    }

    /// Asks for `demand` unless that was done, and waits until it `is_answered` in what is in use, within
    /// bounds. Whoever comes when it has been asked for long does not wait, and nobody does for a control
    /// plane that is away: it is asked when it is back.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; the demand stays.
    pub(crate) async fn hold(&self, demand: &Demand, is_answered: impl Fn() -> bool) -> Outcome {
        // Before the first look, so that nothing is published in between.
        let mut published = self.0.published.subscribe();
        let outcome = match self.ask(demand) {
            None => Outcome::Full,
            Some((since, _held)) => {
                let answered = async {
                    while !is_answered() {
                        if published.changed().await.is_err() {
                            return;
                        }
                    }
                };
                let due = since + self.0.timeout;
                let away = self.away_since().map(|it| it + AWAY_MAX);
                match timeout_at(away.map_or(due, |it| it.min(due)), answered).await {
                    Ok(()) => Outcome::Answered,
                    Err(_) if away.is_some_and(|it| it < due) => Outcome::Away,
                    Err(_) => Outcome::TimedOut,
                }
            }
        };
        let outcomes = &self.0.counters.outcomes;
        outcomes.with_label_values(&[outcome.as_str()]).inc();
        outcome
    }

    /// Notes a demand, and says since when it is one; none if there is no room.
    fn ask(&self, demand: &Demand) -> Option<(Instant, Held<'_>)> {
        let mut waiting = self.waiting();
        if waiting.held >= HELD_MAX {
            return None;
        }
        let since = match waiting.pending.get(demand) {
            Some(pending) => pending.since,
            None if waiting.pending.len() >= PENDING_MAX => return None,
            None => {
                let since = Instant::now();
                let pending = Pending {
                    since,
                    taken: false,
                };
                waiting.pending.insert(demand.clone(), pending);
                self.0.asked.notify_one();
                since
            }
        };
        waiting.held += 1;
        self.0.counters.held.inc();
        Some((since, Held(self)))
    }

    /// Waits for demands that are new to [`Self::take`].
    ///
    /// # Cancel safety
    ///
    /// No call is lost.
    pub(crate) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Demands that were not taken before.
    pub(crate) fn take(&self) -> Vec<Demand> {
        let mut waiting = self.waiting();
        let new = waiting.pending.iter_mut().filter(|(_, it)| !it.taken);
        let taken = new.map(|(demand, pending)| {
            pending.taken = true;
            demand.clone()
        });
        taken.collect()
    }

    /// Lets go of whoever waits for one of these answers, which are in use now.
    pub(crate) fn published(&self, answered: &Answered) {
        let mut waiting = self.waiting();
        let now = Instant::now();
        let counters = &self.0.counters;
        waiting.pending.retain(|demand, pending| {
            let waits = !answered.has(demand);
            if !waits {
                let waited = now.saturating_duration_since(pending.since);
                counters.answer_seconds.observe(waited.as_secs_f64());
            }
            waits
        });
        drop(waiting);
        self.0.published.send_replace(());
    }

    /// Makes room for what is no demand any more: whoever wants it again asks anew.
    pub(crate) fn forget<'d>(&self, given_up: impl Iterator<Item = &'d Demand>) {
        let mut waiting = self.waiting();
        for demand in given_up {
            waiting.pending.remove(demand);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whatever was noted is complete.
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Outcome ===

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::TimedOut => "timeout",
            Self::Away => "away",
            Self::Full => "full",
        }
    }
}

// === impl Held ===

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.waiting().held -= 1;
        self.0.0.counters.held.dec();
    }
}

#[cfg(test)]
mod tests;
