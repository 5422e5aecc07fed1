//! What a request sees of the configuration: one generation of routes and destinations together.
//!
//! The control thread publishes; each worker reads through a cache of its own, so that a request
//! costs one atomic load while nothing changes. The only file that names `arc_swap`: `Shared` is for
//! others who need the same.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Cache};

use crate::demand::Answered;
use crate::table::Table;
use crate::upstream::destination::Destinations;

/// One generation of everything that routes: routes and destinations change together or not at all.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1; 0 is the empty snapshot before the first.
    pub generation: u64,
    /// Listeners, hosts and routes.
    pub table: Arc<Table>,
    /// Where routes lead.
    pub destinations: Destinations,
    /// What the control plane was asked, and what this generation goes with.
    pub answered: Arc<Answered>,
}

/// The writing side; one per process.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
}

/// The reading side; one per worker.
#[derive(Debug)]
pub struct Reader {
    cache: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    current: RefCell<Current>,
}

/// One worker's hold on a snapshot.
///
/// It counts its holders without atomics: requests that begin and end all the time must not make
/// the workers' caches fight for the line of a shared counter.
#[derive(Debug, Clone)]
pub struct Current(Rc<Held>);

#[derive(Debug)]
struct Held(Arc<Snapshot>);

/// A value that is absent at first and then replaced as a whole. Reading never waits.
#[derive(Debug)]
pub(crate) struct Shared<T>(ArcSwapOption<T>);

// === impl Publisher ===

impl Publisher {
    /// Replaces routes and destinations. Requests that hold the old ones finish with them.
    pub fn publish(&self, table: Arc<Table>, destinations: Destinations) -> Arc<Snapshot> {
        let answered = Arc::clone(&self.current.load().answered);
        self.publish_answered(table, destinations, answered)
    }

    /// Replaces the whole snapshot, also what the control plane was asked.
    pub(crate) fn publish_answered(
        &self,
        table: Arc<Table>,
        destinations: Destinations,
        answered: Arc<Answered>,
    ) -> Arc<Snapshot> {
        let generation = self.current.load().generation + 1;
        let snapshot = Arc::new(Snapshot {
            generation,
            table,
            destinations,
            answered,
        });
        self.current.store(Arc::clone(&snapshot));
        snapshot
    }

    /// The snapshot that new requests get.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A reading side for one worker.
    pub fn reader(&self) -> Reader {
        let mut cache = Cache::new(Arc::clone(&self.current));
        let current = Current::hold(Arc::clone(cache.load()));
        Reader {
            cache: RefCell::new(cache),
            current: RefCell::new(current),
        }
    }
}

// === impl Reader ===

impl Reader {
    /// The current snapshot.
    pub fn load(&self) -> Current {
        let mut cache = self.cache.borrow_mut();
        let newest = cache.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(newest, &current.0.0) {
            *current = Current::hold(Arc::clone(newest));
        }
        current.clone()
    }
}

// === impl Current ===

impl Current {
    fn hold(snapshot: Arc<Snapshot>) -> Self {
        Self(Rc::new(Held(snapshot)))
    }
}

impl Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.0
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    /// Reads the value of this moment; what replaces it meanwhile is not seen.
    pub(crate) fn read<R>(&self, work: impl FnOnce(Option<&T>) -> R) -> R {
        work(self.0.load().as_deref())
    }

    /// Puts `value` in the place of the one before.
    pub(crate) fn replace(&self, value: T) {
        self.0.store(Some(Arc::new(value)));
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}
