//! The requests of one connection whose answers wait for the peer, and how long they do.
//!
//! A peer that opens no window holds what an answer occupies: buffers here and a place at the
//! upstream. There is no timer for each request: answers note a number of the connection's slow
//! clock, and one look at all of them each minute finds those that stand still.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;

use super::guard::Remains;

/// Time between two looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Looks after which an answer, or the whole connection, has stood still for too long: five minutes
/// and at most one more.
const LOOKS_MAX: u32 = 5;

/// What the parts of one connection know of each other.
#[derive(Default)]
pub(super) struct Watch {
    /// Looks so far.
    clock: Cell<u32>,
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<usize>>,
    /// Place of the request that was begun last, until its task is known.
    newest: Cell<Option<usize>>,
    /// Bytes of answers that were handed to the library, and that left it.
    handed: Cell<u64>,
    sent: Cell<u64>,
    /// When something last left.
    moved: Cell<u32>,
    /// The socket takes no more, since when.
    blocked: Cell<Option<u32>>,
    retired: Cell<bool>,
    remains: RefCell<Option<Remains>>,
}

/// What is known of one request.
#[derive(Default)]
struct Place {
    /// Since when the peer has to take what was handed out; none while the upstream has to act.
    waits: Option<u32>,
    task: Option<AbortHandle>,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or single answers, which were ended.
    Moving {
        /// Answers that were ended.
        ended: u64,
    },
    /// All answers are handed out and their rest does not leave: the connection is to take no more
    /// requests.
    Lingering,
    /// Nothing moves any more: the connection is to end.
    Stuck,
}

/// An answer's body that is watched; its place is given back when it is dropped.
pub(super) struct Watched<B> {
    body: B,
    entry: Entry,
}

/// A request's place, from its beginning to the end of its answer.
pub(super) struct Entry {
    watch: Rc<Watch>,
    place: usize,
}

/// Runs the tasks of a connection's requests on the worker's own thread and notes how to end them.
#[derive(Clone)]
pub(super) struct Tasks(pub(super) Rc<Watch>);

// === impl Watch ===

impl Watch {
    /// A place for a request that begins.
    pub(super) fn enter(self: &Rc<Self>) -> Entry {
        let mut places = self.places.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            places.push(Place::default());
            places.len() - 1
        });
        self.newest.set(Some(place));
        Entry {
            watch: Rc::clone(self),
            place,
        }
    }

    /// `sent` bytes of answers have left so far.
    pub(super) fn sent(&self, sent: u64) {
        if self.sent.replace(sent) != sent {
            self.moved.set(self.clock.get());
        }
    }

    /// Whether the socket took nothing.
    pub(super) fn blocked(&self, blocked: bool) {
        let since = self.blocked.get().unwrap_or(self.clock.get());
        self.blocked.set(blocked.then_some(since));
    }

    /// Leaves what the library had.
    pub(super) fn leave(&self, remains: Remains) {
        *self.remains.borrow_mut() = Some(remains);
    }

    pub(super) fn take_remains(&self) -> Option<Remains> {
        self.remains.take()
    }

    /// Looks for what stands still; ends answers that do.
    pub(super) fn look(&self) -> Found {
        let now = self.clock.get() + 1;
        self.clock.set(now);
        let is_late = |since: u32| now - since > LOOKS_MAX;
        let places = self.places.borrow();
        let is_idle = places.len() == self.free.borrow().len();
        // A retired connection may still answer what it was asked before it said so.
        let is_over = self.retired.get() && is_idle;
        if is_over || self.blocked.get().is_some_and(is_late) {
            return Found::Stuck;
        }
        // Resets throw away what was handed out, so that this may be wrong, at the price of a new
        // connection for a peer that asked for nothing in the time.
        if is_idle && self.handed.get() > self.sent.get() && is_late(self.moved.get()) {
            self.retired.set(true);
            return Found::Lingering;
        }
        let late = places
            .iter()
            .filter(|place| place.waits.is_some_and(is_late));
        let late: Vec<AbortHandle> = late.filter_map(|place| place.task.clone()).collect();
        drop(places);
        late.iter().for_each(AbortHandle::abort);
        Found::Moving {
            ended: late.len() as u64,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Watches the answer's body.
    pub(super) fn watch<B>(self, body: B) -> Watched<B> {
        Watched { body, entry: self }
    }

    fn wait(&self, since: Option<u32>) {
        self.watch.places.borrow_mut()[self.place].waits = since;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.watch.places.borrow_mut()[self.place] = Place::default();
        self.watch.free.borrow_mut().push(self.place);
    }
}

// === impl Watched ===

impl<B> http_body::Body for Watched<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    /// The library asks for a frame only when the one before it has found room.
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        let data = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref(),
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
        };
        let watch = &this.entry.watch;
        let length = data.map_or(0, Bytes::len) as u64;
        watch.handed.set(watch.handed.get() + length);
        this.entry.wait(data.map(|_| watch.clock.get()));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Tasks ===

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    /// The library calls the service and then this, with nothing between.
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        if let Some(place) = self.0.newest.take() {
            self.0.places.borrow_mut()[place].task = Some(task.abort_handle());
        }
    }
}

#[cfg(test)]
mod tests;
