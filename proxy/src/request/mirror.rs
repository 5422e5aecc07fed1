//! Copies of requests for mirrors: fire and forget.
//!
//! A copy is sent by a task of its own and goes through the same balancing, pools and limits as any
//! request to its destination. Nothing of it comes back: the request itself is never delayed, blocked
//! or failed by it. What keeps it in bounds: how many copies are under way, the window of each body,
//! and a time from the complete request on. It is sent once, whatever becomes of the request's attempts.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body::Body as _;
use prometheus::IntGauge;
use tokio::time::sleep;

use crate::body::Body;
use crate::body::tee::{Copy, Missed, Progress, Tee, Waiting};
use crate::request::explain::Account;
use crate::request::forward::Call;
use crate::request::headers::OwnHeaders;
use crate::table::mirror::Mirror;
use crate::telemetry::flags::Flags;
use crate::telemetry::metrics::{MirrorCounters, Mirrored};
use crate::upstream::destination::Destination;
use crate::upstream::{Answer, Outgoing, Sending, UpstreamError};
use crate::worker::Worker;

/// Most copies of one worker that are under way.
const COPIES_MAX: usize = 1_024;
/// Time from the complete request to the end of the mirror's answer, where the rule has no `timeout`.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Most bytes of a mirror's answer that are read so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Tells mirrors that what they get is a copy.
pub(crate) static X_MIRRORED: HeaderName = HeaderName::from_static("x-mirrored");

/// The copies of one worker.
#[derive(Debug)]
pub(crate) struct Mirrors {
    under_way: Rc<Cell<usize>>,
    waiting: Rc<Waiting>,
    counters: MirrorCounters,
}

/// Counts a copy as under way until dropped.
#[derive(Debug)]
struct UnderWay {
    count: Rc<Cell<usize>>,
    active: IntGauge,
}

/// A copy on its way.
struct Mirroring {
    worker: Rc<Worker>,
    destination: Arc<Destination>,
    outgoing: Outgoing,
    /// Hash of what ties it to an endpoint of its destination.
    key: Option<u64>,
    /// The body, if there is one.
    copy: Option<Copy>,
    timeout: Duration,
    _under_way: UnderWay,
}

// === impl Mirrors ===

impl Mirrors {
    pub(crate) fn new(counters: MirrorCounters) -> Self {
        Self {
            under_way: Rc::default(),
            waiting: Rc::default(),
            counters,
        }
    }

    /// A place for one more copy.
    fn begin(&self) -> Result<UnderWay, Mirrored> {
        if self.under_way.get() >= COPIES_MAX {
            return Err(Mirrored::TooMany);
        }
        self.under_way.set(self.under_way.get() + 1);
        self.counters.active.inc();
        Ok(UnderWay {
            count: Rc::clone(&self.under_way),
            active: self.counters.active.clone(),
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.active.dec();
    }
}

// === impl Call ===

impl Call<'_> {
    /// Sends a copy of the request, as it was edited, to each mirror that is drawn. From now on the
    /// body is copied while it passes.
    pub(super) fn mirror(&self, outgoing: &mut Outgoing, account: Option<&Account>) {
        let mirrors = &*self.route().mirrors;
        if mirrors.is_empty() || !may_be_copied(outgoing) {
            return;
        }
        for mirror in mirrors {
            if !mirror.share.hits(self.worker.upstream.random()) {
                continue;
            }
            match self.copy(mirror, outgoing) {
                Ok(mirroring) => {
                    if let Some(account) = account {
                        account.mirrored(&mirroring.destination);
                    }
                    drop(tokio::task::spawn_local(mirroring.run()));
                }
                Err(why_not) => self.worker.mirrors.counters.count(why_not),
            }
        }
    }

    fn copy(&self, mirror: &Mirror, outgoing: &mut Outgoing) -> Result<Mirroring, Mirrored> {
        let destination = self.destination(&mirror.destination);
        let destination = destination.ok_or(Mirrored::NoDestination)?;
        let mirrors = &self.worker.mirrors;
        let under_way = mirrors.begin()?;
        let (key, _) = self.hash_key(&destination, outgoing);
        let copy = tee(&mut outgoing.body).map(|tee| tee.copy(&mirrors.waiting));
        let body = copy.as_ref().map_or(Body::Empty, Copy::body);
        Ok(Mirroring {
            worker: Rc::clone(self.worker),
            destination: Arc::clone(&destination),
            outgoing: copied(outgoing, body),
            key,
            copy,
            timeout: self.route().timeout.unwrap_or(TIMEOUT_DEFAULT),
            _under_way: under_way,
        })
    }
}

/// Whether a request may be copied: what both sides agree on once they have switched, a copy cannot
/// take part in.
pub(crate) fn may_be_copied(outgoing: &Outgoing) -> bool {
    outgoing.upgrade.is_none() && outgoing.head.method != Method::CONNECT
}

/// The tee of a body, made when it is needed first; none if there is no body.
fn tee(body: &mut Body) -> Option<&mut Tee> {
    if body.is_end_stream() {
        return None;
    }
    if !matches!(body, Body::Tee(_)) {
        *body = Body::Tee(Box::new(Tee::new(std::mem::take(body))));
    }
    let Body::Tee(tee) = body else { return None };
    Some(tee)
}

/// The same request once more, with another body and a word that it is a copy.
fn copied(outgoing: &mut Outgoing, body: Body) -> Outgoing {
    // Both have the same identifier then.
    outgoing.settle_headers();
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = outgoing.head.method.clone();
    head.uri = outgoing.head.uri.clone();
    head.version = outgoing.head.version;
    head.headers = outgoing.head.headers.clone();
    // The body comes when the request's own upstream asks for it.
    head.headers.remove(header::EXPECT);
    let word = HeaderValue::from_static("true");
    head.headers.insert(X_MIRRORED.clone(), word);
    Outgoing {
        head: Box::new(head),
        rewritten: outgoing.rewritten.clone(),
        authority: outgoing.authority.clone(),
        own: OwnHeaders::default(),
        body,
        spelling: outgoing.spelling.clone(),
        interim: None,
        upgrade: None,
        token: None,
        sending: Sending::default(),
    }
}

// === impl Mirroring ===

impl Mirroring {
    /// Sends the copy and counts how it ended.
    async fn run(self) {
        let Self {
            worker,
            destination,
            mut outgoing,
            key,
            copy,
            timeout,
            _under_way,
        } = self;
        let answered = Cell::new(false);
        let exchange = pin!(exchange(
            &worker,
            &destination,
            key,
            &mut outgoing,
            &answered
        ));
        let ended = within(exchange, copy.as_ref(), timeout).await;
        // An answer is one, also if its rest was not worth the wait.
        let ended = match answered.get() {
            true => Mirrored::Answered,
            false => ended,
        };
        worker.mirrors.counters.count(ended);
    }
}

/// Sends a copy, reads the answer and forgets it.
async fn exchange(
    worker: &Worker,
    destination: &Destination,
    key: Option<u64>,
    outgoing: &mut Outgoing,
    answered: &Cell<bool>,
) -> Mirrored {
    match worker.upstream.send_once(destination, key, outgoing).await {
        Ok(answer) => {
            answered.set(true);
            forget(*answer).await;
            Mirrored::Answered
        }
        Err(error) => Mirrored::from(&error),
    }
}

/// Reads an answer to its end, as far as that is worth a connection.
async fn forget(mut answer: Answer) {
    let body = answer.response.body_mut();
    let mut left = ANSWER_BYTES_MAX;
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        let read = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Runs `work` until it ends, the copy of the body is lost, or `timeout` is over, which counts from
/// the complete request on: until then the request's own limits count.
async fn within(
    mut work: Pin<&mut impl Future<Output = Mirrored>>,
    copy: Option<&Copy>,
    timeout: Duration,
) -> Mirrored {
    let mut end = None;
    poll_fn(|cx| {
        let worked = work.as_mut().poll(cx);
        match copy.map_or(Progress::Complete, |copy| copy.poll_progress(cx)) {
            // That the body failed is all that the upstream's side can see of this.
            Progress::Missed(missed) => return Poll::Ready(missed.into()),
            Progress::Open | Progress::Complete if worked.is_ready() => return worked,
            Progress::Open => return Poll::Pending,
            Progress::Complete => {}
        }
        let end = end.get_or_insert_with(|| Box::pin(sleep(timeout)));
        end.as_mut().poll(cx).map(|()| Mirrored::TimedOut)
    })
    .await
}

// === impl Mirrored ===

impl From<Missed> for Mirrored {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Window => Self::Window,
            Missed::Memory => Self::Memory,
            Missed::Incomplete => Self::Incomplete,
        }
    }
}

impl From<&UpstreamError> for Mirrored {
    fn from(error: &UpstreamError) -> Self {
        let flag = error.flag();
        [
            (Flags::UH, Self::NoEndpoint),
            (Flags::UO, Self::Overflow),
            (Flags::UF, Self::NotConnected),
            (Flags::UT, Self::TimedOut),
        ]
        .into_iter()
        .find_map(|(named, mirrored)| flag.contains(named).then_some(mirrored))
        .unwrap_or(Self::Broken)
    }
}

#[cfg(test)]
mod tests;
