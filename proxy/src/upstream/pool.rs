//! The idle connections of one worker, by endpoint.
//!
//! A pool belongs to its worker alone: no lock, no connection that wakes another core. The connection
//! that rested least is used first, so that the others can grow old and be closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::upstream::http1::Connection;
use crate::upstream::http2::Slot;

/// Most idle connections that one worker keeps to one endpoint; more are closed.
const IDLE_PER_ENDPOINT_MAX: usize = 1_024;

/// One worker's connections.
#[derive(Debug, Default)]
pub struct Pool {
    endpoints: RefCell<FxHashMap<u64, Rc<Home>>>,
}

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub(crate) struct Home {
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections, shared by requests.
    pub(crate) http2: Slot,
    /// Set when the endpoint is gone: what comes back is closed.
    closed: Cell<bool>,
    idle_timeout: Cell<Duration>,
    requests_max: Cell<u32>,
}

#[derive(Debug)]
struct Idle {
    conn: Connection,
    since: Instant,
}

// === impl Pool ===

impl Pool {
    /// The connections to the endpoint `id`, with the limits that apply from now on.
    pub(crate) fn home(&self, id: u64, idle_timeout: Duration, requests_max: u32) -> Rc<Home> {
        let mut endpoints = self.endpoints.borrow_mut();
        let home = endpoints.entry(id).or_insert_with(|| {
            Rc::new(Home {
                idle: RefCell::default(),
                http2: Slot::default(),
                closed: Cell::new(false),
                idle_timeout: Cell::new(idle_timeout),
                requests_max: Cell::new(requests_max),
            })
        });
        home.idle_timeout.set(idle_timeout);
        home.requests_max.set(requests_max);
        Rc::clone(home)
    }

    /// Closes what rested too long or was closed by its peer, and everything to endpoints that are
    /// not among `known`.
    pub(crate) fn sweep(&self, known: &FxHashSet<u64>, now: Instant) {
        self.endpoints.borrow_mut().retain(|id, home| {
            if !known.contains(id) {
                home.closed.set(true);
                home.idle.borrow_mut().clear();
                home.http2.clear();
                return false;
            }
            let timeout = home.idle_timeout.get();
            home.idle.borrow_mut().retain_mut(|idle| {
                // A busy connection keeps its buffer; one that rests gives the memory back.
                idle.conn.rest();
                now.saturating_duration_since(idle.since) < timeout && !idle.conn.is_stale()
            });
            home.http2.sweep(timeout, now);
            true
        });
    }

    /// Idle HTTP/1.1 connections.
    pub fn idle(&self) -> usize {
        self.endpoints
            .borrow()
            .values()
            .map(|home| home.idle.borrow().len())
            .sum()
    }
}

// === impl Home ===

impl Home {
    /// A connection that is ready for a request, if there is one. Connections that turn out to be
    /// closed are dropped on the way.
    pub(crate) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { conn, .. }) = idle.pop() {
            if !conn.is_stale() {
                return Some(conn);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete, unless a limit says otherwise.
    pub(crate) fn take_back(&self, conn: Connection) {
        let worn = self.requests_max.get() != 0 && conn.requests() >= self.requests_max.get();
        let mut idle = self.idle.borrow_mut();
        if worn || self.closed.get() || idle.len() >= IDLE_PER_ENDPOINT_MAX {
            return;
        }
        idle.push(Idle {
            conn,
            since: Instant::now(),
        });
    }
}
