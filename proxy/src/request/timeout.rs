//! The end of a request's time: its rule's `timeout`, what the caller of gRPC has left, and how long
//! nothing at all may pass.

pub(crate) mod grpc;
pub(crate) mod idle;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::request::malformed::Malformed;
use idle::Quiet;

/// What is known of a request's body while it passes.
#[derive(Debug, Default)]
pub struct Upload {
    /// Bytes that passed.
    pub bytes: Cell<u64>,
    /// What was wrong with it, if that is why it ended.
    pub(crate) malformed: Cell<Option<Malformed>>,
    /// Whether it broke off, which is the downstream's fault whatever the upstream makes of it.
    pub(crate) broke_off: Cell<bool>,
    /// When it was complete, or given up.
    complete: Cell<Option<Instant>>,
    /// Who waits for that: an HTTP/2 upstream reads the body in a task of its own.
    waiting: RefCell<Option<Waker>>,
}

/// The time that a request has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Time {
    /// The rule's limit, from the complete request on; covers all attempts.
    limit: Option<Duration>,
    /// When the caller will have given up.
    caller_end: Option<Instant>,
    /// Without a body the request is complete at the beginning.
    began: Option<Instant>,
    upload: Option<Rc<Upload>>,
}

/// Waits for the end of a request's time, or of one attempt's.
#[derive(Debug)]
pub(crate) struct Deadline {
    time: Time,
    /// Present once the end is known.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Notices that nothing passes.
    quiet: Option<Quiet>,
}

/// Which time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// That of the rule, or of the attempt.
    Limit,
    /// The caller's own.
    Caller,
    /// Nothing passed for too long, and more of the request was awaited.
    QuietRequest,
    /// Nothing passed for too long, and the upstream was awaited.
    QuietUpstream,
}

// === impl Upload ===

impl Upload {
    /// Notes that nothing more will come; only the first time counts.
    pub(crate) fn finish(&self) {
        if self.complete.get().is_none() {
            self.complete.set(Some(Instant::now()));
            let waiting = self.waiting.take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}

// === impl Time ===

impl Time {
    /// At most `limit` from the complete request on, and `caller` from now on.
    pub(crate) fn new(
        limit: Option<Duration>,
        caller: Option<Duration>,
        upload: Option<Rc<Upload>>,
    ) -> Self {
        // Without a limit the clock is not asked.
        let began = (limit.is_some() || caller.is_some()).then(Instant::now);
        Self {
            limit,
            caller_end: caller.and_then(|left| began?.checked_add(left)),
            began,
            upload,
        }
    }

    /// The same request with `limit` for the attempt that begins now.
    pub(crate) fn of_attempt(&self, limit: Duration) -> Self {
        Self::new(Some(limit), None, self.upload.clone())
    }

    /// Whether it ever ends.
    pub(crate) fn ends(&self) -> bool {
        self.began.is_some()
    }

    /// The first end that is known, and whose it is. The rule's is not while the request is
    /// incomplete.
    fn end(&self) -> Option<(Instant, Expired)> {
        let rule = self.rule_end().map(|end| (end, Expired::Limit));
        let caller = self.caller_end.map(|end| (end, Expired::Caller));
        match (rule, caller) {
            (Some(rule), Some(caller)) => Some(if caller.0 < rule.0 { caller } else { rule }),
            (rule, caller) => rule.or(caller),
        }
    }

    fn rule_end(&self) -> Option<Instant> {
        let (limit, began) = (self.limit?, self.began?);
        let complete = match &self.upload {
            None => began,
            Some(upload) => upload.complete.get()?.max(began),
        };
        complete.checked_add(limit)
    }

    /// What is left at `now`; `None` if there is no end, or it is not known yet.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let (end, _) = self.end()?;
        Some(end.saturating_duration_since(now))
    }

    /// What is left to tell the upstream of a gRPC call: of the caller's time and of the rule's, which
    /// is whole while the request is incomplete. Without either the clock is not asked.
    pub(crate) fn left_for_upstream(&self) -> Option<Duration> {
        self.began?;
        let now = Instant::now();
        let left = |end: Instant| end.saturating_duration_since(now);
        let caller = self.caller_end.map(left);
        let rule = self.limit.map(|limit| self.rule_end().map_or(limit, left));
        match (caller, rule) {
            (Some(caller), Some(rule)) => Some(caller.min(rule)),
            (caller, rule) => caller.or(rule),
        }
    }

    /// Whether the request's body broke off.
    pub(crate) fn request_broke_off(&self) -> bool {
        let upload = self.upload.as_ref();
        upload.is_some_and(|upload| upload.broke_off.get())
    }

    /// Whether the end is not known yet because the request is incomplete.
    fn awaits_request(&self) -> bool {
        self.upload
            .as_ref()
            .is_some_and(|upload| upload.complete.get().is_none())
    }
}

// === impl Deadline ===

impl Deadline {
    /// The end of `time`, or of `quiet`.
    pub(crate) fn new(time: Time, quiet: Option<Quiet>) -> Self {
        Self {
            time,
            sleep: None,
            quiet,
        }
    }

    /// Ready when the time is over; `passed` counts the bytes of the answer so far. While the end is
    /// not known there is no timer; the end of the request's body wakes the caller's task.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>, passed: u64) -> Poll<Expired> {
        if let Some(expired) = self.poll_quiet(cx, passed) {
            return Poll::Ready(expired);
        }
        if self.time.limit.is_some()
            && let Some(upload) = &self.time.upload
            && upload.complete.get().is_none()
        {
            *upload.waiting.borrow_mut() = Some(cx.waker().clone());
        }
        let Some((end, whose)) = self.time.end() else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(cx).map(|()| whose)
    }

    fn poll_quiet(&mut self, cx: &mut Context<'_>, passed: u64) -> Option<Expired> {
        let quiet = self.quiet.as_mut()?;
        let upload = self.time.upload.as_ref();
        let uploaded = upload.map_or(0, |upload| upload.bytes.get());
        if !quiet.is_over(cx, passed.wrapping_add(uploaded)) {
            return None;
        }
        // Once there is an answer it is the upstream's to go on.
        Some(match self.time.awaits_request() && passed == 0 {
            true => Expired::QuietRequest,
            false => Expired::QuietUpstream,
        })
    }
}

/// Runs `work` until it ends or the time is over. It is pinned by the caller, because it is large:
/// moving it here would cost more than all the rest of this.
pub(crate) async fn within<T>(
    deadline: &mut Option<Deadline>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Expired> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        match deadline {
            Some(deadline) => deadline.poll_expired(cx, 0).map(Err),
            None => Poll::Pending,
        }
    })
    .await
}
