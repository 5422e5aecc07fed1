//! What there is to do at a listener, counted where it happens and read by the control thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::table::{Bind, Direction};

/// What one worker has to do at one listener.
///
/// Only its worker writes it, so that counting needs no locked instruction; alone in its cache lines, so
/// that one worker's requests do not slow down another's.
#[derive(Debug)]
#[repr(align(128))]
pub struct Load {
    /// Where it listens.
    pub bind: Bind,
    /// Which way its traffic goes.
    pub direction: Direction,
    /// Connections are taken.
    listening: AtomicBool,
    /// Connections that were taken so far.
    taken: AtomicU64,
    /// Connections that are open.
    open: AtomicUsize,
    /// Requests that are under way.
    requests: AtomicUsize,
}

/// The listeners that a drain is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those for callers of the workload, and gateways.
    Inbound,
    /// Those for the workload itself.
    Outbound,
    /// All.
    All,
}

// === impl Scope ===

impl Scope {
    /// Whether listeners of a direction are meant.
    pub fn covers(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::All, _)
            | (Self::Inbound, Direction::Inbound | Direction::Gateway)
            | (Self::Outbound, Direction::Outbound) => true,
            (Self::Inbound, Direction::Outbound)
            | (Self::Outbound, Direction::Inbound | Direction::Gateway) => false,
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match self == other {
            true => self,
            false => Self::All,
        }
    }
}

// === impl Load ===

impl Load {
    /// Of a listener that takes connections from now on.
    pub fn new(bind: Bind, direction: Direction) -> Self {
        Self {
            bind,
            direction,
            listening: AtomicBool::new(true),
            taken: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// Whether connections are still taken.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Relaxed)
    }

    /// Connections that were taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Requests that are under way.
    pub fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// No more connections are taken.
    pub(crate) fn close(&self) {
        self.listening.store(false, Relaxed);
    }

    pub(super) fn enter(&self) {
        self.taken.store(self.taken() + 1, Relaxed);
        add(&self.open);
    }

    pub(super) fn leave(&self) {
        subtract(&self.open);
    }

    pub(super) fn begin_request(&self) {
        add(&self.requests);
    }

    pub(super) fn end_request(&self) {
        subtract(&self.requests);
    }
}

fn add(count: &AtomicUsize) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

fn subtract(count: &AtomicUsize) {
    count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
}

/// Every worker's loads at every listener.
#[derive(Debug, Default)]
pub struct Loads(Mutex<Vec<Arc<Load>>>);

/// What there is to do at some listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Some of them still take connections.
    pub listening: bool,
    /// Connections that were taken so far.
    pub taken: u64,
    /// Connections that are open.
    pub open: usize,
    /// Requests that are under way.
    pub requests: usize,
}

// === impl Loads ===

impl Loads {
    /// Adds one more listener of a worker, and forgets those with which there is no more to do.
    pub fn add(&self, load: &Arc<Load>) {
        let mut loads = self.lock();
        loads.retain(|it| it.is_listening() || it.open() > 0);
        loads.push(Arc::clone(load));
    }

    /// The sum over listeners and workers.
    pub fn sum(&self, scope: Scope) -> Sum {
        let loads = self.lock();
        let concerned = loads.iter().filter(|load| scope.covers(load.direction));
        concerned.fold(Sum::default(), |sum, load| sum.with(load))
    }

    /// The sum over workers, of each listener.
    pub fn listeners(&self) -> BTreeMap<Bind, (Direction, Sum)> {
        let mut listeners = BTreeMap::new();
        for load in self.lock().iter() {
            let known = listeners.entry(load.bind.clone());
            let (_, sum): &mut (Direction, Sum) =
                known.or_insert_with(|| (load.direction, Sum::default()));
            *sum = sum.with(load);
        }
        listeners
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Load>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sum ===

impl Sum {
    fn with(self, load: &Load) -> Self {
        Self {
            listening: self.listening || load.is_listening(),
            taken: self.taken + load.taken(),
            open: self.open + load.open(),
            requests: self.requests + load.requests(),
        }
    }
}
