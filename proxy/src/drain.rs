//! The connections of one worker, and how they are told to end.
//!
//! A connection looks at a flag whenever it is polled anyway; draining sets the flag and wakes each
//! connection once. So a connection that is not drained pays one branch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    open: Cell<usize>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    empty: Notify,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    drain: Rc<Drain>,
    place: usize,
    registered: bool,
    told: bool,
}

// === impl Drain ===

impl Drain {
    /// Enters a connection.
    pub(crate) fn enter(self: &Rc<Self>) -> Ticket {
        let mut wakers = self.wakers.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        self.open.set(self.open.get() + 1);
        Ticket {
            drain: Rc::clone(self),
            place,
            registered: false,
            told: false,
        }
    }

    /// Tells every connection to end after the request it is in.
    pub fn begin(&self) {
        self.draining.set(true);
        let wakers: Vec<Waker> = self.wakers.borrow().iter().flatten().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
        self.tell_if_empty();
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
    /// Whether the connection is to end from now on; true once.
    pub(crate) fn is_told(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.registered {
            self.registered = true;
            // A task's waker stays the same for its life, so that one registration is enough.
            self.drain.wakers.borrow_mut()[self.place] = Some(cx.waker().clone());
        }
        let tell = self.drain.draining.get() && !self.told;
        self.told |= tell;
        tell
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.drain.wakers.borrow_mut()[self.place] = None;
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

    #[tokio::test(flavor = "local")]
    async fn connections_are_told_once_and_waited_for() {
        let drain = Rc::new(Drain::default());
        let mut ticket = drain.enter();
        let conn = tokio::task::spawn_local(async move {
            poll_fn(|cx| {
                if ticket.is_told(cx) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            assert!(!poll_fn(|cx| Poll::Ready(ticket.is_told(cx))).await);
        });
        tokio::task::yield_now().await;
        assert_eq!(drain.open(), 1);

        drain.begin();
        drain.emptied().await;

        conn.await.expect("the connection ends");
        assert_eq!(drain.open(), 0);
    }
}
