//! The idle connections of one worker, by endpoint.
//!
//! A pool belongs to its worker alone: no lock, no connection that wakes another core. The connection
//! that rested least is used first, so that the others can grow old and be closed.
//!
//! A connection is used again only if it rested less than configuration and the endpoint's own limit
//! allow ([`IdleLimit`](crate::upstream::idle_limit::IdleLimit)), is not too old, and is open as far
//! as can be told: the reactor's knowledge costs nothing and is as old as the last turn of the event
//! loop; beyond a short rest the socket itself is asked.

mod wait;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::upstream::breaker::{Bell, Breaker};
use crate::upstream::caller::Caller;
use crate::upstream::destination::Policy;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http1::{Connection, KeepAlive};
use crate::upstream::http2::Slot;
use crate::upstream::idle_limit::{Closes, Span};
pub(crate) use wait::Claim;
use wait::WaitingRoom;

/// Most idle connections that one worker keeps to one endpoint; more are closed.
const IDLE_PER_ENDPOINT_MAX: usize = 1_024;
/// Rest after which the socket itself is asked before it is used again. Under load connections rest
/// for less, and the system call is saved; what was closed within so short a rest, the reactor shows
/// with its next turn.
const ASK_AFTER: Duration = Duration::from_millis(5);

/// One worker's connections.
#[derive(Debug, Default)]
pub struct Pool {
    homes: RefCell<FxHashMap<HomeKey, Rc<Home>>>,
    /// Rung when somebody, on any worker, waits for what rests here.
    bell: Arc<Bell>,
}

/// Whose connections serve for each other: those to one endpoint that are secured alike and, where
/// endpoints are told whom they are opened for, those of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HomeKey {
    /// Number of the endpoint.
    pub(crate) endpoint: u64,
    /// Number of the channel to it.
    pub(crate) channel: u64,
    /// Number of the caller; 0 if they serve for all.
    pub(crate) caller: u64,
}

/// What connections to an endpoint must have in common to serve for each other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way<'w> {
    /// Number of the channel.
    pub(crate) channel: u64,
    /// Whom they are opened for; none if they serve for all.
    pub(crate) caller: Option<&'w Rc<Caller>>,
}

/// When connections end, as configuration has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest rest.
    pub(crate) idle: Duration,
    /// Greatest age.
    pub(crate) age: Option<Duration>,
    /// Most requests; 0 means no limit.
    pub(crate) requests: u32,
}

/// The connections of one worker to one endpoint that are secured alike.
#[derive(Debug)]
pub(crate) struct Home {
    endpoint: Arc<Endpoint>,
    /// What the endpoint's destination may use.
    pub(crate) breaker: Arc<Breaker>,
    /// In the order in which they began to rest: the last one rested least.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections, shared by requests.
    pub(crate) http2: Slot,
    /// Requests that wait for a connection.
    waiting: WaitingRoom,
    /// Whom they are opened for; none if they serve for all.
    caller: Option<Weak<Caller>>,
    /// Set when the endpoint is gone: what comes back is closed.
    closed: Cell<bool>,
    limits: Cell<Limits>,
    /// When all idle connections were looked at last.
    looked: Cell<Instant>,
}

#[derive(Debug)]
struct Idle {
    conn: Box<Connection>,
    since: Instant,
}

/// A connection that is used again.
#[derive(Debug)]
pub(crate) struct Rested {
    pub(crate) conn: Box<Connection>,
    /// How long it had rested.
    pub(crate) rest: Duration,
}

// === impl Limits ===

impl Limits {
    /// The limits of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            idle: policy.idle_timeout,
            age: policy.connection_age_max,
            requests: policy.requests_per_connection_max,
        }
    }
}

// === impl Pool ===

impl Pool {
    /// The connections to `endpoint` that have this in common, with the limits that apply from now on.
    pub(crate) fn home(
        &self,
        endpoint: &Arc<Endpoint>,
        way: Way<'_>,
        breaker: &Arc<Breaker>,
        limits: Limits,
    ) -> Rc<Home> {
        let mut homes = self.homes.borrow_mut();
        let key = HomeKey {
            endpoint: endpoint.id,
            channel: way.channel,
            caller: way.caller.map_or(0, |caller| caller.id),
        };
        let home = homes.entry(key).or_insert_with(|| {
            breaker.ring(&self.bell);
            Rc::new(Home {
                endpoint: Arc::clone(endpoint),
                breaker: Arc::clone(breaker),
                idle: RefCell::default(),
                http2: Slot::default(),
                waiting: WaitingRoom::default(),
                caller: way.caller.map(Rc::downgrade),
                closed: Cell::new(false),
                limits: Cell::new(limits),
                looked: Cell::new(Instant::now()),
            })
        });
        home.limits.set(limits);
        Rc::clone(home)
    }

    /// Closes what rested too long or was closed by its peer, and everything to endpoints, or through
    /// channels, that are not known, or for callers that are gone. `is_known` is asked of connections
    /// that serve for all.
    pub(crate) fn sweep(&self, is_known: impl Fn(&HomeKey) -> bool, now: Instant) {
        self.homes.borrow_mut().retain(|key, home| {
            let shared = HomeKey { caller: 0, ..*key };
            if is_known(&shared) && !home.is_orphaned() {
                home.sweep(now);
                return true;
            }
            home.closed.set(true);
            home.idle.borrow_mut().clear();
            home.http2.clear();
            false
        });
    }

    /// Closes everything that rests: its memory is needed elsewhere.
    pub(crate) fn give_back(&self) {
        for home in self.homes.borrow().values() {
            home.idle.borrow_mut().clear();
        }
    }

    /// Gives up connections for those who wait, on this worker or others, for as long as it runs.
    pub(crate) async fn attend(&self) {
        loop {
            self.bell.rung().await;
            let homes: Vec<_> = self.homes.borrow().values().cloned().collect();
            for home in homes {
                home.give_up();
            }
        }
    }

    /// Idle HTTP/1.1 connections.
    pub fn idle(&self) -> usize {
        self.homes
            .borrow()
            .values()
            .map(|home| home.idle.borrow().len())
            .sum()
    }
}

// === impl Home ===

impl Home {
    /// The connection that rested least of those that are ready for a request. Connections that turn
    /// out to be closed, or that may be at any moment, are dropped on the way.
    pub(crate) fn take(&self, now: Instant) -> Option<Rested> {
        let mut idle = self.idle.borrow_mut();
        let Limits { idle: limit, .. } = self.limits.get();
        let limit = self.endpoint.idle_limit.within(limit);
        let mut closes = Closes::default();
        let mut found = None;
        while let Some(Idle { mut conn, since }) = idle.pop() {
            let rest = now.saturating_duration_since(since);
            let closed = match rest < ASK_AFTER {
                true => conn.is_stale(),
                false => conn.is_closed(),
            };
            if closed {
                closes.note(rest);
            } else if rest >= limit {
                // Those below rested longer still.
                idle.clear();
            } else if !self.is_old(&conn, now) {
                found = Some(Rested { conn, rest });
                break;
            }
        }
        self.learn(&closes, found.as_ref().map(|it| it.rest), now);
        found
    }

    /// Keeps a connection whose exchange is complete, unless a limit says otherwise.
    pub(crate) fn take_back(&self, conn: Box<Connection>) {
        self.put(conn, Instant::now());
    }

    /// Keeps a connection that was not used after all: it goes on resting.
    pub(crate) fn put_back(&self, rested: Rested) {
        let since = Instant::now().checked_sub(rested.rest);
        self.put(rested.conn, since.unwrap_or_else(Instant::now));
    }

    fn put(&self, conn: Box<Connection>, since: Instant) {
        let Limits { requests, .. } = self.limits.get();
        let worn = (requests != 0 && conn.requests() >= requests) || self.is_old(&conn, since);
        if worn || self.closed.get() || self.idle.borrow().len() >= IDLE_PER_ENDPOINT_MAX {
            return;
        }
        if !self.breaker.is_limited() {
            return self.idle.borrow_mut().push(Idle { conn, since });
        }
        if self.breaker.exceeds() {
            return;
        }
        let Some(conn) = self.hand_over(conn) else {
            return;
        };
        self.idle.borrow_mut().push(Idle { conn, since });
        // Whoever began to wait before this could be seen rang in vain.
        self.give_up();
    }

    /// Closes what rests for as long as there are more connections than allowed: the limit may have
    /// been higher when they were opened.
    fn shrink(&self) {
        while self.breaker.exceeds() {
            let Some(worn) = self.idle.borrow_mut().pop() else {
                return self.http2.shrink(&self.breaker);
            };
            drop(worn);
        }
    }

    /// Gives up connections for as long as somebody waits for them, longest rest first.
    fn give_up(&self) {
        while !self.idle.borrow().is_empty()
            && let Some(ending) = self.breaker.end_one()
        {
            let given_up = self.idle.borrow_mut().remove(0);
            drop(given_up);
            drop(ending);
        }
        self.http2.give_up(&self.breaker, Instant::now());
    }

    /// Notes what an answer said of its connection; whether the connection can be used again.
    pub(crate) fn heed(&self, said: KeepAlive) -> bool {
        if let Some(timeout) = said.timeout.filter(|timeout| !timeout.is_zero()) {
            self.endpoint.idle_limit.announce(timeout);
        }
        !said.ends()
    }

    /// A connection that looked open after so long a `rest` turned out to be closed: the others
    /// rested longer and are not worth a try.
    pub(crate) fn distrust(&self, rest: Duration, now: Instant) {
        self.idle.borrow_mut().clear();
        // Closed while the request was on its way: the limit is all but exactly known.
        let seen = Span {
            open: rest,
            closed: rest + ASK_AFTER,
        };
        self.endpoint.idle_limit.observe(seen, now);
    }

    /// Whether those were opened for a caller that is gone.
    fn is_orphaned(&self) -> bool {
        let caller = self.caller.as_ref();
        caller.is_some_and(|caller| caller.strong_count() == 0)
    }

    fn is_old(&self, conn: &Connection, now: Instant) -> bool {
        let Limits { age, .. } = self.limits.get();
        age.is_some_and(|age| conn.age(now) >= age)
    }

    fn sweep(&self, now: Instant) {
        let limits = self.limits.get();
        self.endpoint.idle_limit.review(now);
        let limit = self.endpoint.idle_limit.within(limits.idle);
        let mut closes = Closes::default();
        let mut oldest_open = None;
        self.idle.borrow_mut().retain_mut(|idle| {
            // A busy connection keeps its buffer; one that rests gives the memory back.
            idle.conn.rest();
            let rest = now.saturating_duration_since(idle.since);
            if idle.conn.is_stale() {
                closes.note(rest);
                return false;
            }
            oldest_open = oldest_open.max(Some(rest));
            rest < limit && !self.is_old(&idle.conn, now)
        });
        self.learn(&closes, oldest_open, now);
        self.looked.set(now);
        self.http2.sweep(limits, now);
        if self.breaker.is_limited() {
            self.shrink();
            self.give_up();
        }
    }

    /// Learns from connections that were found closed; `open` is the longest rest of one that is
    /// not.
    fn learn(&self, closes: &Closes, open: Option<Duration>, now: Instant) {
        let look = now.saturating_duration_since(self.looked.get());
        if let Some(seen) = closes.span(look, open) {
            self.endpoint.idle_limit.observe(seen, now);
        }
    }
}

#[cfg(test)]
mod tests;
