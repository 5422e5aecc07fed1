//! The connections of one worker: how they are told to end, and how they notice that a peer keeps
//! them waiting.
//!
//! A connection looks at a flag whenever it is polled anyway; draining sets the flag and wakes each
//! connection once. So a connection that is not drained pays one branch. Waits are timed in ticks of
//! a second: a connection notes until when it waits, which costs a store, and the tick wakes the few
//! that waited too long. A timer of the runtime for each wait would cost more than the wait is worth.
//!
//! Whoever is told while no request is under way stays for a moment (`IDLE_GRACE_TICKS`): the next
//! request may be on its way, and closing then would cost its sender the answer. It gets one, and that
//! says that the connection ends.

mod load;
pub mod plan;

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry as MapEntry;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::task::AbortHandle;

use crate::listener::places::Place as ProcessPlace;
use crate::table::{Bind, Direction};
pub use load::{Load, Loads, Scope, Sum};

/// Ticks for which a connection that is told to end waits for a request that may be on its way: at
/// least a second, since the first of them may come at once.
const IDLE_GRACE_TICKS: u32 = 2;
/// No tick is so late.
const NEVER: u32 = u32::MAX;

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Drain {
    /// What is told to end from its beginning.
    told: Cell<Option<Scope>>,
    /// Ticks since the worker began, one per second.
    now: Cell<u32>,
    open: Cell<usize>,
    places: RefCell<Vec<Option<Place>>>,
    free: RefCell<Vec<usize>>,
    /// The place that was given last, until its task is known.
    newest: Cell<Option<usize>>,
    /// What is to do at each listener.
    loads: RefCell<FxHashMap<Bind, Arc<Load>>>,
}

/// What is known of one open connection.
#[derive(Debug)]
struct Place {
    /// The listener it came to.
    bind: Bind,
    signs: Rc<Signs>,
    /// Present once the connection was polled.
    waker: Option<Waker>,
    /// Ends it at once, and what it occupies of the process's limits meanwhile.
    task: Option<(AbortHandle, ProcessPlace)>,
}

/// What a connection and its worker tell each other.
#[derive(Debug)]
struct Signs {
    /// It is to end.
    told: Cell<bool>,
    /// Tick from which it ends without another request, once it is told.
    leaves: Cell<u32>,
    /// Tick from which it has waited too long.
    due: Cell<u32>,
    /// What its listener has to do.
    load: Arc<Load>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    drain: Rc<Drain>,
    place: usize,
    registered: bool,
    signs: Rc<Signs>,
}

/// Tells one connection to end.
#[derive(Debug, Clone)]
pub(crate) struct Ending(Rc<Signs>);

/// A request that is under way, until dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Rc<Signs>);

// === impl Drain ===

impl Drain {
    /// Counts what comes to a listener in `load` from now on.
    pub(crate) fn listen(&self, load: Arc<Load>) {
        self.loads.borrow_mut().insert(load.bind.clone(), load);
    }

    /// Forgets what was counted in `load`, unless its listener came back meanwhile.
    pub(crate) fn unlisten(&self, load: &Arc<Load>) {
        if let MapEntry::Occupied(known) = self.loads.borrow_mut().entry(load.bind.clone())
            && Arc::ptr_eq(known.get(), load)
        {
            known.remove();
        }
    }

    /// What is counted of the listener at `bind`.
    fn load(&self, bind: &Bind) -> Arc<Load> {
        if let Some(load) = self.loads.borrow().get(bind) {
            return Arc::clone(load);
        }
        // Nobody listens there: a connection that a test or a benchmark made itself.
        let load = Arc::new(Load::new(bind.clone(), Direction::Inbound));
        self.listen(Arc::clone(&load));
        load
    }

    /// Enters a connection to `bind`; where all are told to end, it is from the beginning.
    pub(crate) fn enter(self: &Rc<Self>, bind: &Bind) -> Ticket {
        let load = self.load(bind);
        let told = self
            .told
            .get()
            .is_some_and(|told| told.covers(load.direction));
        load.enter();
        let signs = Rc::new(Signs {
            told: Cell::new(told),
            leaves: Cell::new(self.grace()),
            due: Cell::new(NEVER),
            load,
        });
        let entered = Some(Place {
            bind: bind.clone(),
            signs: Rc::clone(&signs),
            waker: None,
            task: None,
        });
        let mut places = self.places.borrow_mut();
        let place = match self.free.borrow_mut().pop() {
            Some(place) => {
                places[place] = entered;
                place
            }
            None => {
                places.push(entered);
                places.len() - 1
            }
        };
        self.newest.set(Some(place));
        self.open.set(self.open.get() + 1);
        Ticket {
            drain: Rc::clone(self),
            place,
            registered: false,
            signs,
        }
    }

    /// Notes the task of the connection that was entered last, and what it occupies.
    pub(crate) fn runs(&self, task: AbortHandle, occupied: ProcessPlace) {
        let mut places = self.places.borrow_mut();
        let newest = self.newest.take().and_then(|place| places[place].as_mut());
        if let Some(place) = newest {
            place.task = Some((task, occupied));
        }
    }

    /// When a connection leaves that is told now and has no request under way.
    fn grace(&self) -> u32 {
        self.now.get().saturating_add(IDLE_GRACE_TICKS)
    }

    /// Tells every connection in `scope` to end after the request it is in, and those that come later.
    pub fn begin(&self, scope: Scope) {
        let before = self.told.get();
        self.told
            .set(Some(before.map_or(scope, |before| before.with(scope))));
        self.tell(|place| scope.covers(place.signs.load.direction));
    }

    /// Tells the connections to `bind` to end after the request they are in.
    pub(crate) fn begin_for(&self, bind: &Bind) {
        self.tell(|place| place.bind == *bind);
    }

    fn tell(&self, concerns: impl Fn(&Place) -> bool) {
        let places = self.places.borrow();
        let concerned = places.iter().flatten().filter(|place| concerns(place));
        let wakers: Vec<Waker> = concerned
            .filter_map(|place| {
                if !place.signs.told.replace(true) {
                    place.signs.leaves.set(self.grace());
                }
                place.waker.clone()
            })
            .collect();
        drop(places);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Ends what is left in `scope`, whatever it is doing.
    pub(crate) fn cut(&self, scope: Scope) {
        let places = self.places.borrow();
        let concerned = places
            .iter()
            .flatten()
            .filter(|place| scope.covers(place.signs.load.direction));
        let tasks: Vec<AbortHandle> = concerned
            .filter_map(|place| place.task.as_ref().map(|(task, _)| task.clone()))
            .collect();
        drop(places);
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Goes on to the next tick and wakes the connections that have waited too long.
    pub(crate) fn tick(&self) {
        let now = self.now.get().saturating_add(1).min(NEVER - 1);
        self.now.set(now);
        let places = self.places.borrow();
        let late = places.iter().flatten().filter(|place| {
            let signs = &place.signs;
            signs.due.get() <= now || (signs.told.get() && signs.leaves.get() <= now)
        });
        let wakers: Vec<Waker> = late.filter_map(|place| place.waker.clone()).collect();
        drop(places);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.open.get()
    }
}

// === impl Ending ===

impl Ending {
    /// Tells the connection to end after the request it is in, which looks for itself.
    pub(crate) fn tell(&self) {
        self.0.told.set(true);
    }

    /// Counts a request as under way.
    pub(crate) fn begin_request(&self) -> UnderWay {
        self.0.load.begin_request();
        UnderWay(Rc::clone(&self.0))
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.load.end_request();
    }
}

// === impl Ticket ===

impl Ticket {
    /// What tells the connection to end.
    pub(crate) fn ending(&self) -> Ending {
        Ending(Rc::clone(&self.signs))
    }

    /// Whether the connection is to end after the request it is in.
    pub(crate) fn is_told(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.registered {
            self.registered = true;
            // A task's waker stays the same for its life, so that one registration is enough.
            if let Some(place) = &mut self.drain.places.borrow_mut()[self.place] {
                place.waker = Some(cx.waker().clone());
            }
        }
        self.signs.told.get()
    }

    /// Whether the connection is to end without another request: it was told, and none came for a
    /// while. Who is woken is registered by this, too.
    pub(crate) fn leaves(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_told(cx) && self.signs.leaves.get() <= self.drain.now.get()
    }

    /// Goes on in another task, which is what is woken and ended from now on.
    pub(crate) fn go_on(mut self, start: impl FnOnce(Self) -> AbortHandle) {
        self.registered = false;
        let (drain, place) = (Rc::clone(&self.drain), self.place);
        let task = start(self);
        if let Some(place) = &mut drain.places.borrow_mut()[place]
            && let Some((known, _)) = &mut place.task
        {
            *known = task;
        }
    }

    /// Begins a wait of at most `limit`, which the tick rounds up by as much as a second; none ends
    /// a wait.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        let due = limit.map_or(NEVER, |limit| {
            let ticks = u32::try_from(limit.as_secs()).unwrap_or(NEVER);
            let round_up = 1 + u32::from(limit.subsec_nanos() > 0);
            let due = self.drain.now.get().saturating_add(ticks);
            due.saturating_add(round_up).min(NEVER - 1)
        });
        self.signs.due.set(due);
    }

    /// Whether the wait is over its limit. Asked after [`Self::is_told`], which registers who is
    /// woken.
    pub(crate) fn is_late(&self) -> bool {
        self.signs.due.get() <= self.drain.now.get()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.drain.places.borrow_mut()[self.place].take();
        self.drain.free.borrow_mut().push(self.place);
        if self.drain.newest.get() == Some(self.place) {
            self.drain.newest.set(None);
        }
        self.drain.open.set(self.drain.open.get() - 1);
        self.signs.load.leave();
        drop(left);
    }
}

#[cfg(test)]
mod tests;
