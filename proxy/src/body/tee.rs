//! A request's body that is copied to mirrors while it passes.
//!
//! The tee sits below what keeps the body for other attempts, so that every part is copied once. It
//! never waits: what a mirror has not taken yet waits in its window, and a mirror that lets its window
//! overflow loses the copy, all of it. Nothing is copied in memory but small parts: a window holds
//! references to what the request itself was read into.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::replay::{cost, kept};
use crate::body::{Body, BodyError};

/// Most bytes that wait for one mirror of one request.
pub(crate) const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes that wait for all mirrors of one worker.
const WORKER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes that wait for mirrors of one worker, over all of its requests.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Cell<usize>);

/// Why a mirror does not get the whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It was slower than its window allows.
    Window,
    /// As much waits for the mirrors of the worker as may.
    Memory,
    /// The request itself broke off.
    Incomplete,
}

/// A body that passes, and its copies.
#[derive(Debug)]
pub struct Tee {
    source: Body,
    copies: Vec<Rc<RefCell<Window>>>,
}

/// A mirror's copy of a body, for who looks after it.
#[derive(Debug)]
pub(crate) struct Copy(Rc<RefCell<Window>>);

/// A mirror's copy of a body, for who sends it.
#[derive(Debug)]
pub struct Copied(Rc<RefCell<Window>>);

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may come.
    Open,
    /// All of it has come.
    Complete,
    /// The rest does not come.
    Missed(Missed),
}

/// What came and was not taken yet.
#[derive(Debug)]
struct Window {
    parts: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    progress: Progress,
    /// Nobody takes what comes.
    unread: bool,
    /// What is counted in `waiting`.
    bytes: usize,
    waiting: Rc<Waiting>,
    /// Who waits for the next part.
    reader: Option<Waker>,
    /// Who waits for progress.
    owner: Option<Waker>,
}

// === impl Tee ===

impl Tee {
    /// A body without a copy yet.
    pub(crate) fn new(source: Body) -> Self {
        Self {
            source,
            copies: Vec::new(),
        }
    }

    /// One more copy, counted in `waiting`. The body has not been read yet.
    pub(crate) fn copy(&mut self, waiting: &Rc<Waiting>) -> Copy {
        let window = Rc::new(RefCell::new(Window {
            parts: VecDeque::new(),
            trailers: None,
            progress: Progress::Open,
            unread: false,
            bytes: 0,
            waiting: Rc::clone(waiting),
            reader: None,
            owner: None,
        }));
        self.copies.push(Rc::clone(&window));
        Copy(window)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                    let part = kept(data);
                    self.each(|window| window.push(&part));
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.each(|window| window.trailers = Some(trailers.clone()));
                }
                // Nobody asks again where this is clear.
                if self.source.is_end_stream() {
                    self.each(|window| window.end(Progress::Complete));
                }
            }
            Some(Err(_)) => self.each(|window| window.end(Progress::Missed(Missed::Incomplete))),
            None => self.each(|window| window.end(Progress::Complete)),
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }

    fn each(&self, change: impl Fn(&mut Window)) {
        for window in &self.copies {
            change(&mut window.borrow_mut());
        }
    }
}

impl Drop for Tee {
    /// What nobody reads to its end is not whole.
    fn drop(&mut self) {
        self.each(|window| window.end(Progress::Missed(Missed::Incomplete)));
    }
}

// === impl Window ===

impl Window {
    fn push(&mut self, part: &Bytes) {
        if self.unread || self.progress != Progress::Open {
            return;
        }
        let cost = cost(part);
        if self.bytes + cost > WINDOW_BYTES_MAX {
            return self.end(Progress::Missed(Missed::Window));
        }
        if self.waiting.0.get() + cost > WORKER_BYTES_MAX {
            return self.end(Progress::Missed(Missed::Memory));
        }
        self.count(cost);
        self.parts.push_back(part.clone());
        wake(&mut self.reader);
    }

    /// Only the first end counts.
    fn end(&mut self, progress: Progress) {
        if self.progress != Progress::Open {
            return;
        }
        self.progress = progress;
        if let Progress::Missed(_) = progress {
            self.forget();
        }
        wake(&mut self.reader);
        wake(&mut self.owner);
    }

    fn take(&mut self) -> Option<Bytes> {
        let part = self.parts.pop_front()?;
        let cost = cost(&part);
        self.bytes -= cost;
        self.waiting.0.set(self.waiting.0.get() - cost);
        Some(part)
    }

    fn count(&mut self, cost: usize) {
        self.bytes += cost;
        self.waiting.0.set(self.waiting.0.get() + cost);
    }

    fn forget(&mut self) {
        self.parts = VecDeque::new();
        self.trailers = None;
        self.waiting.0.set(self.waiting.0.get() - self.bytes);
        self.bytes = 0;
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.forget();
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waiting) = waiting.take() {
        waiting.wake();
    }
}

fn wait(waiting: &mut Option<Waker>, cx: &Context<'_>) {
    if !waiting.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
        *waiting = Some(cx.waker().clone());
    }
}

// === impl Copy ===

impl Copy {
    /// The body to send; there is one.
    pub(crate) fn body(&self) -> Body {
        Body::Copied(Copied(Rc::clone(&self.0)))
    }

    /// How far it is; who asks is woken when that changes.
    pub(crate) fn poll_progress(&self, cx: &Context<'_>) -> Progress {
        let mut window = self.0.borrow_mut();
        if window.progress == Progress::Open {
            wait(&mut window.owner, cx);
        }
        window.progress
    }
}

// === impl Copied ===

impl Copied {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut window = self.0.borrow_mut();
        if let Some(part) = window.take() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match window.progress {
            Progress::Open => {
                wait(&mut window.reader, cx);
                Poll::Pending
            }
            Progress::Complete => {
                let trailers = window.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Progress::Missed(_) => Poll::Ready(Some(Err(BodyError::Missed))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let window = self.0.borrow();
        let read = window.parts.is_empty() && window.trailers.is_none();
        read && window.progress == Progress::Complete
    }
}

impl Drop for Copied {
    /// A mirror that has answered, or failed, takes no more.
    fn drop(&mut self) {
        let mut window = self.0.borrow_mut();
        window.unread = true;
        window.forget();
    }
}

#[cfg(test)]
mod tests;
