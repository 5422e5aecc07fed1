//! The stream idle timeout: a request in which nothing passes, in either direction, is given up.
//!
//! There is no timer per request and nothing to do per byte. A worker wakes what waits a few times
//! per timeout, and each request then looks whether it has got on since the last time. So the timeout
//! is kept to a quarter: never early, and at most that much late.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

/// Looks that must all find nothing new. The first one only notes how far a request is.
const QUIET_LOOKS: u8 = 4;

/// The requests of one worker that wait.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Counts the looks.
    look: Cell<u32>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

/// One request that may wait; its place is given back when dropped.
#[derive(Debug)]
pub(crate) struct Quiet {
    watch: Rc<Watch>,
    /// Present once it waited.
    place: Option<usize>,
    /// The last look, and how far the request was then.
    look: u32,
    passed: Option<u64>,
    /// Looks since it got on.
    looks: u8,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            look: Cell::new(0),
            waiting: RefCell::default(),
            free: RefCell::default(),
        })
    }

    /// Watches one request more.
    pub(crate) fn begin(self: &Rc<Self>) -> Quiet {
        Quiet {
            watch: Rc::clone(self),
            place: None,
            look: self.look.get(),
            passed: None,
            looks: 0,
        }
    }

    /// Lets every request that waits look, again and again for ever.
    pub(crate) async fn run(self: Rc<Self>, timeout: Duration) {
        loop {
            tokio::time::sleep(timeout / u32::from(QUIET_LOOKS)).await;
            self.look.set(self.look.get().wrapping_add(1));
            let wakers: Vec<Waker> = self.waiting.borrow().iter().flatten().cloned().collect();
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    }

    fn enter(&self, waker: Waker) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(place) => {
                waiting[place] = Some(waker);
                place
            }
            None => {
                waiting.push(Some(waker));
                waiting.len() - 1
            }
        }
    }
}

// === impl Quiet ===

impl Quiet {
    /// Whether nothing passed for too long; `passed` counts what has passed so far. Has the task
    /// woken at the next look.
    pub(crate) fn is_over(&mut self, cx: &mut Context<'_>, passed: u64) -> bool {
        match self.place {
            None => self.place = Some(self.watch.enter(cx.waker().clone())),
            Some(place) => {
                let held = &mut self.watch.waiting.borrow_mut()[place];
                if !held.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
                    *held = Some(cx.waker().clone());
                }
            }
        }
        let look = self.watch.look.get();
        if look == self.look {
            return false;
        }
        self.look = look;
        if self.passed.replace(passed) == Some(passed) {
            self.looks += 1;
        } else {
            self.looks = 0;
        }
        self.looks >= QUIET_LOOKS
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.watch.waiting.borrow_mut()[place] = None;
            self.watch.free.borrow_mut().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::{spawn_local, yield_now};
    use tokio::time::{Instant, sleep};

    const TIMEOUT: Duration = Duration::from_secs(8);

    /// Waits until the request is given up.
    async fn given_up(mut quiet: Quiet, passed: Rc<Cell<u64>>) {
        poll_fn(|cx| match quiet.is_over(cx, passed.get()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_request_in_which_nothing_passes_is_given_up() {
        let watch = Watch::new();
        let running = spawn_local(Rc::clone(&watch).run(TIMEOUT));
        sleep(Duration::from_millis(500)).await;
        let start = Instant::now();

        given_up(watch.begin(), Rc::default()).await;

        let took = start.elapsed();
        assert!(took >= TIMEOUT && took <= TIMEOUT * 5 / 4, "{took:?}");
        running.abort();
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn what_gets_on_is_not_given_up_however_slowly() {
        let watch = Watch::new();
        let running = spawn_local(Rc::clone(&watch).run(TIMEOUT));
        let passed = Rc::<Cell<u64>>::default();
        let request = spawn_local(given_up(watch.begin(), Rc::clone(&passed)));

        for _ in 0..10 {
            sleep(TIMEOUT * 9 / 10).await;
            assert!(!request.is_finished());
            passed.set(passed.get() + 1);
        }

        sleep(TIMEOUT * 3 / 2).await;
        assert!(request.is_finished(), "until it no longer does");
        running.abort();
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn places_are_used_again() {
        let watch = Watch::new();
        for _ in 0..10 {
            let request = spawn_local(given_up(watch.begin(), Rc::default()));
            yield_now().await;
            request.abort();
            let _ = request.await;
        }

        assert_eq!(watch.waiting.borrow().len(), 1);
        assert!(watch.waiting.borrow()[0].is_none());
    }
}
