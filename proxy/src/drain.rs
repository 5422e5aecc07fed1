//! The connections of one worker, and how they are told to end.
//!
//! A connection looks at a flag whenever it is polled anyway; draining sets the flag and wakes each
//! connection once. So a connection that is not drained pays one branch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

use crate::table::Bind;

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
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
    told: Rc<Cell<bool>>,
    /// Present once the connection was polled.
    waker: Option<Waker>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    drain: Rc<Drain>,
    place: usize,
    registered: bool,
    told: Rc<Cell<bool>>,
}

// === impl Drain ===

impl Drain {
    /// Enters a connection to `bind`; once all are told to end, new ones are from the beginning.
    pub(crate) fn enter(self: &Rc<Self>, bind: &Bind) -> Ticket {
        let told = Rc::new(Cell::new(self.draining.get()));
        let entered = Some(Place {
            bind: bind.clone(),
            told: Rc::clone(&told),
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
            told,
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
                place.told.set(true);
                place.waker.clone()
            })
            .collect();
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

// === impl Ticket ===

impl Ticket {
    /// Whether the connection is to end.
    pub(crate) fn is_told(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.registered {
            self.registered = true;
            // A task's waker stays the same for its life, so that one registration is enough.
            if let Some(place) = &mut self.drain.places.borrow_mut()[self.place] {
                place.waker = Some(cx.waker().clone());
            }
        }
        self.told.get()
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
