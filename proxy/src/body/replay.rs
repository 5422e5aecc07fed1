//! A request's body that can be sent again: its parts are kept while another attempt is possible.
//!
//! Nothing is copied: what is kept are references to the memory in which the parts were read. An
//! attempt sends what is kept and goes on with what the caller still sends, so that it need not wait
//! for the whole body. Once there is an answer to hand on, or the body outgrows its bound, the rest
//! passes through.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// Most bytes of one request that are kept; the same as Envoy's buffer in Istio.
pub(crate) const REPLAY_BYTES_MAX: usize = 1024 * 1024;
/// Parts below this size are copied, so that what is kept is what is counted: a buffer for reading has
/// room for a few times as much.
const COPIED_BYTES_MAX: usize = 2 * 1024;
/// Most bytes that one worker keeps for all of its requests.
const WORKER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a part costs beside its bytes: a body in very small parts would otherwise take many times its
/// size.
const PART_BYTES: usize = 128;

/// Bytes that one worker keeps, over all of its requests.
#[derive(Debug, Default)]
pub(crate) struct Kept(Cell<usize>);

/// How much of a body another attempt would need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All that was sent.
    Sent,
    /// Only what was not sent yet: the part that is being written. A second part is asked for when
    /// the first has gone, and by then no attempt can follow.
    Unsent,
}

/// Why a body cannot be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is larger than [`REPLAY_BYTES_MAX`].
    TooLarge,
    /// The worker keeps as much as it may.
    NoRoom,
    /// Parts were sent that are not worth keeping.
    Sent,
    /// The caller broke off.
    Failed,
}

/// A body of which every attempt gets its own reading.
#[derive(Debug)]
pub(crate) struct Recording(Rc<RefCell<Shared>>);

/// One attempt's reading of a body. Only the newest one can be read: an upstream that still holds an
/// older one gets an error, so that two attempts never share what the caller sends.
#[derive(Debug)]
pub struct Replay {
    shared: Rc<RefCell<Shared>>,
    attempt: u32,
}

#[derive(Debug)]
struct Shared {
    source: Body,
    keep: Keep,
    parts: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// The source has no more.
    ended: bool,
    /// Why there can be no other attempt.
    lost: Option<Lost>,
    /// There will be no other attempt.
    last: bool,
    /// The newest attempt, and what of the kept parts it has read.
    attempt: u32,
    read_parts: usize,
    read_trailers: bool,
    /// Who waits for the source.
    waiting: Option<Waker>,
    /// What is counted in `kept`.
    bytes: usize,
    kept: Rc<Kept>,
}

// === impl Recording ===

impl Recording {
    /// Keeps what `source` gives as `keep` says, and counts it in `kept`.
    pub(crate) fn new(source: Body, keep: Keep, kept: &Rc<Kept>) -> Self {
        Self(Rc::new(RefCell::new(Shared {
            source,
            keep,
            parts: VecDeque::new(),
            trailers: None,
            ended: false,
            lost: None,
            last: false,
            attempt: 0,
            read_parts: 0,
            read_trailers: false,
            waiting: None,
            bytes: 0,
            kept: Rc::clone(kept),
        })))
    }

    /// The body from its beginning, for the next attempt. Earlier readings end.
    pub(crate) fn replay(&self) -> Body {
        let mut shared = self.0.borrow_mut();
        shared.attempt += 1;
        shared.read_parts = 0;
        shared.read_trailers = false;
        let superseded = shared.waiting.take();
        let attempt = shared.attempt;
        drop(shared);
        if let Some(superseded) = superseded {
            superseded.wake();
        }
        Body::Replay(Replay {
            shared: Rc::clone(&self.0),
            attempt,
        })
    }

    /// Why there can be no other attempt; `None` while there can.
    pub(crate) fn lost(&self) -> Option<Lost> {
        self.0.borrow().lost
    }

    /// Says that there will be no other attempt: nothing more is kept.
    pub(crate) fn finish(&self) {
        let mut shared = self.0.borrow_mut();
        shared.last = true;
        shared.forget_read();
    }
}

// === impl Shared ===

impl Shared {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(part) = self.next_part() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if self.ended {
            let trailers = self.trailers.clone().filter(|_| !self.read_trailers);
            self.read_trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if self.keep == Keep::Unsent && self.read_parts > 0 {
            self.lose(Lost::Sent);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(cx) else {
            if !self
                .waiting
                .as_ref()
                .is_some_and(|it| it.will_wake(cx.waker()))
            {
                self.waiting = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.lose(Lost::Failed);
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.note_part(data),
            (None, Some(trailers)) => {
                self.ended = true;
                self.read_trailers = true;
                self.trailers = (!self.passes()).then(|| trailers.clone());
            }
            (None, None) => {}
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// The next of the kept parts; on the last attempt it is not kept any longer.
    fn next_part(&mut self) -> Option<Bytes> {
        if self.passes() {
            let part = self.parts.pop_front()?;
            self.count_less(cost(&part));
            return Some(part);
        }
        let part = self.parts.get(self.read_parts)?.clone();
        self.read_parts += 1;
        Some(part)
    }

    /// Keeps a part that was just read, if it may be needed again and there is room.
    fn note_part(&mut self, data: &Bytes) {
        if self.passes() || data.is_empty() {
            return;
        }
        let cost = cost(data);
        if self.bytes + cost > REPLAY_BYTES_MAX {
            return self.lose(Lost::TooLarge);
        }
        if self.kept.0.get() + cost > WORKER_BYTES_MAX {
            return self.lose(Lost::NoRoom);
        }
        self.bytes += cost;
        self.kept.0.set(self.kept.0.get() + cost);
        self.parts.push_back(kept(data));
        self.read_parts += 1;
    }

    /// Whether what comes passes through without being kept.
    fn passes(&self) -> bool {
        self.last || self.lost.is_some()
    }

    fn lose(&mut self, lost: Lost) {
        self.lost.get_or_insert(lost);
        self.forget_read();
    }

    /// Frees what the newest attempt has read.
    fn forget_read(&mut self) {
        let read: usize = self
            .parts
            .drain(..self.read_parts)
            .map(|it| cost(&it))
            .sum();
        self.read_parts = 0;
        self.count_less(read);
    }

    fn count_less(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.kept.0.set(self.kept.0.get() - bytes);
    }

    fn is_end_stream(&self) -> bool {
        let has_trailers = self.trailers.is_some() && !self.read_trailers;
        let read = self.read_parts == self.parts.len() && !has_trailers;
        read && (self.ended || self.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.parts.iter().skip(self.read_parts);
        let kept = kept.map(|part| part.len() as u64).sum::<u64>();
        let rest = if self.ended {
            SizeHint::with_exact(0)
        } else {
            self.source.size_hint()
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.count_less(self.bytes);
    }
}

/// What keeping a part costs, in bytes.
pub(super) fn cost(part: &Bytes) -> usize {
    part.len() + PART_BYTES
}

/// A part to keep: a small one would keep the whole buffer that it was read into.
pub(super) fn kept(part: &Bytes) -> Bytes {
    match part.len() < COPIED_BYTES_MAX {
        true => Bytes::copy_from_slice(part),
        false => part.clone(),
    }
}

// === impl Replay ===

impl Replay {
    /// The next part; an error if a newer attempt has the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.shared.borrow_mut();
        if shared.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        let frame = ready!(shared.poll_frame(cx));
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.attempt == self.attempt && shared.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.shared.borrow().size_hint()
    }
}

#[cfg(test)]
mod tests;
