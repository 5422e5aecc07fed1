//! The connections of one worker: how they are told to end, and how they notice that a peer keeps
//! them waiting.
//!
//! A connection looks at a flag whenever it is polled anyway; draining sets the flag and wakes each
//! connection once. So a connection that is not drained pays one branch. Waits are timed in ticks of
//! a second: a connection notes until when it waits, which costs a store, and the tick wakes the few
//! that waited too long. A timer of the runtime for each wait would cost more than the wait is worth.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::table::Bind;

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    /// Ticks since the worker began, one per second.
    now: Cell<u32>,
    open: Cell<usize>,
    places: RefCell<Vec<Option<Place>>>,
    free: RefCell<Vec<usize>>,
    empty: Notify,
}

/// What is known of one open connection.
#[derive(Debug)]
struct Place {
    /// The listener it came to.
    bind: Bind,
    signs: Rc<Signs>,
    /// Present once the connection was polled.
    waker: Option<Waker>,
}

/// What a connection and its worker tell each other.
#[derive(Debug)]
struct Signs {
    /// It is to end.
    told: Cell<bool>,
    /// Tick from which it has waited too long.
    due: Cell<u32>,
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

/// No tick is so late.
const NEVER: u32 = u32::MAX;

// === impl Drain ===

impl Drain {
    /// Enters a connection to `bind`; once all are told to end, new ones are from the beginning.
    pub(crate) fn enter(self: &Rc<Self>, bind: &Bind) -> Ticket {
        let signs = Rc::new(Signs {
            told: Cell::new(self.draining.get()),
            due: Cell::new(NEVER),
        });
        let entered = Some(Place {
            bind: bind.clone(),
            signs: Rc::clone(&signs),
            waker: None,
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
        self.open.set(self.open.get() + 1);
        Ticket {
            drain: Rc::clone(self),
            place,
            registered: false,
            signs,
        }
    }

    /// Tells every connection to end after the request it is in.
    pub fn begin(&self) {
        self.draining.set(true);
        self.tell(|_| true);
        self.tell_if_empty();
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
                place.signs.told.set(true);
                place.waker.clone()
            })
            .collect();
        drop(places);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Goes on to the next tick and wakes the connections that have waited too long.
    pub(crate) fn tick(&self) {
        let now = self.now.get().saturating_add(1).min(NEVER - 1);
        self.now.set(now);
        let places = self.places.borrow();
        let late = places
            .iter()
            .flatten()
            .filter(|place| place.signs.due.get() <= now);
        let wakers: Vec<Waker> = late.filter_map(|place| place.waker.clone()).collect();
        drop(places);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Waits until the last connection has ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn emptied(&self) {
        while self.open.get() > 0 {
            self.empty.notified().await;
        }
    }

    fn tell_if_empty(&self) {
        if self.open.get() == 0 {
            self.empty.notify_waiters();
        }
    }
}

// === impl Ending ===

impl Ending {
    /// Tells the connection to end after the request it is in, which looks for itself.
    pub(crate) fn tell(&self) {
        self.0.told.set(true);
    }
}

// === impl Ticket ===

impl Ticket {
    /// What tells the connection to end.
    pub(crate) fn ending(&self) -> Ending {
        Ending(Rc::clone(&self.signs))
    }

    /// Whether the connection is to end.
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
        self.drain.places.borrow_mut()[self.place] = None;
        self.drain.free.borrow_mut().push(self.place);
        self.drain.open.set(self.drain.open.get() - 1);
        self.drain.tell_if_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::{JoinHandle, spawn_local, yield_now};

    fn bind(port: u16) -> Bind {
        Bind::Tcp(([127, 0, 0, 1], port).into())
    }

    /// A connection that ends when it is told to.
    fn connection(drain: &Rc<Drain>, port: u16) -> JoinHandle<()> {
        let mut ticket = drain.enter(&bind(port));
        spawn_local(poll_fn(move |cx| match ticket.is_told(cx) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }))
    }

    #[tokio::test(flavor = "local")]
    async fn connections_are_told_and_waited_for() {
        let drain = Rc::new(Drain::default());
        let conn = connection(&drain, 1);
        yield_now().await;
        assert_eq!(drain.open(), 1);

        drain.begin();
        drain.emptied().await;

        conn.await.expect("the connection ends");
        assert_eq!(drain.open(), 0);
        let late = connection(&drain, 1);
        late.await.expect("one that comes late ends, too");
    }

    #[tokio::test(flavor = "local")]
    async fn who_waits_too_long_is_woken() {
        let drain = Rc::new(Drain::default());
        let mut ticket = drain.enter(&bind(1));
        ticket.wait(Some(Duration::from_millis(1_500)));
        let waiting = spawn_local(poll_fn(move |cx| {
            ticket.is_told(cx);
            match ticket.is_late() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        for _ in 0..2 {
            yield_now().await;
            drain.tick();
        }
        yield_now().await;
        assert!(!waiting.is_finished(), "a limit is never cut short");

        drain.tick();

        waiting.await.expect("the wait ends");
    }

    #[tokio::test(flavor = "local")]
    async fn the_connections_of_one_listener_can_be_told_alone() {
        let drain = Rc::new(Drain::default());
        let (one, two) = (connection(&drain, 1), connection(&drain, 2));
        yield_now().await;

        drain.begin_for(&bind(1));

        one.await.expect("the connection ends");
        yield_now().await;
        assert!(!two.is_finished());
        let again = connection(&drain, 1);
        yield_now().await;
        assert!(!again.is_finished(), "the listener may have come back");
    }
}
