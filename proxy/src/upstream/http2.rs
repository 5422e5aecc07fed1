//! HTTP/2 connections to endpoints, shared by the requests of one worker.

mod conn;
mod fault;
pub(crate) mod headers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::body::Body;
use crate::telemetry::metrics::Proved;
use crate::upstream::UpstreamError;
use crate::upstream::breaker::{Breaker, Place, Thresholds};
use crate::upstream::connect::{ConnectError, ConnectFault, Fresh};
use crate::upstream::destination::{Ping, Policy};
use crate::upstream::pool::{Home, Limits};
use conn::Shared;
pub use fault::StreamFault;

/// Streams that share one connection before another is opened, where nothing else is said; what
/// peers commonly allow.
pub const STREAMS_DEFAULT: u32 = 100;
/// Most connections of one worker to one endpoint.
const CONNECTIONS_MAX: usize = 64;

/// How long an endpoint's only connection of a worker serves before it is ended for a worker that has
/// none: long enough to be worth its opening.
const SLICE: Duration = Duration::from_millis(100);

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Present while a connection is being opened: the others wait for it instead of each opening
    /// one of their own.
    opening: RefCell<Option<Rc<Opened>>>,
    /// Told when a stream ends, or there is a new connection.
    room: Rc<Notify>,
    /// Requests that wait for a place for one more connection.
    queued: Cell<usize>,
}

/// Counts a request as waiting for a place until dropped.
struct Queued<'s>(&'s Cell<usize>);

/// What configuration says of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    /// Most streams of one connection.
    pub(crate) streams_max: u32,
    pub(crate) ping: Option<Ping>,
    /// Time for a connection to begin, and to get room on one.
    pub(crate) wait: Duration,
    pub(crate) thresholds: Thresholds,
}

/// A place on a connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    conn: Rc<Shared>,
    /// Whether the connection had served before and nothing was going on.
    rested: bool,
}

/// A request without an answer.
pub(crate) struct Failed {
    pub(crate) source: hyper::Error,
    pub(crate) fault: StreamFault,
    /// Whether nothing of the request can have been processed.
    pub(crate) unsent: bool,
    /// The body, if it was not touched.
    pub(crate) body: Option<Body>,
}

/// How the opening of a connection ended, for those who wait for it.
#[derive(Debug, Default)]
struct Opened {
    done: Notify,
    failed: Cell<Option<ConnectFault>>,
}

/// Clears the mark of an opening connection however it ends.
struct Opening<'s> {
    slot: &'s Slot,
    opened: Rc<Opened>,
}

// === impl Terms ===

impl Terms {
    /// The terms of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            limits: Limits::of(policy),
            streams_max: policy.streams_max,
            ping: policy.ping,
            wait: policy.connect_timeout,
            thresholds: policy.thresholds,
        }
    }
}

// === impl Slot ===

impl Slot {
    /// A place on a connection; opens one by `open` if there is none with room. `home` is where the
    /// slot is.
    pub(crate) async fn stream(
        &self,
        home: &Home,
        terms: &Terms,
        open: impl AsyncFnOnce(Place) -> Result<Fresh, UpstreamError>,
    ) -> Result<Stream, UpstreamError> {
        let mut until = None;
        let mut pending = None;
        loop {
            if let Some(stream) = self.reuse(terms, Instant::now()) {
                return Ok(stream);
            }
            let opening = self.opening.borrow().clone();
            if let Some(opening) = opening {
                if pending.is_none() {
                    pending = Some(home.breaker.pend(&terms.thresholds)?);
                }
                opening.done.notified().await;
                // Whoever waited shares the failure: one after the other would wait as often as
                // there are waiters. One that was only given up is no failure.
                if let Some(fault) = opening.failed.get() {
                    return Err(UpstreamError::Connect(ConnectError::Shared(fault)));
                }
                continue;
            }
            pending = None;
            let place = match self.may_grow() {
                true => home.breaker.open(),
                false => None,
            };
            let place = match place {
                Some(place) => Some(place),
                None => self.wait(home, terms, &mut until).await?,
            };
            // Meanwhile there may be room elsewhere, or somebody else opens a connection.
            if let Some(place) = place
                && self.opening.borrow().is_none()
                && !self.has_room(terms)
            {
                return self.open(terms, place, open).await;
            }
        }
    }

    /// A place on the least busy connection with room.
    fn reuse(&self, terms: &Terms, now: Instant) -> Option<Stream> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| shared.takes_requests(terms.limits, now));
        let streams_max = terms.streams_max as usize;
        let roomy = shared.iter().filter(|shared| shared.has_room(streams_max));
        let least = roomy.min_by_key(|shared| shared.streams.get())?;
        Some(Stream::new(Rc::clone(least)))
    }

    fn has_room(&self, terms: &Terms) -> bool {
        let streams_max = terms.streams_max as usize;
        let shared = self.shared.borrow();
        let now = Instant::now();
        let takes = |it: &&Rc<Shared>| it.takes_requests(terms.limits, now);
        shared
            .iter()
            .filter(takes)
            .any(|it| it.has_room(streams_max))
    }

    async fn open(
        &self,
        terms: &Terms,
        place: Place,
        open: impl AsyncFnOnce(Place) -> Result<Fresh, UpstreamError>,
    ) -> Result<Stream, UpstreamError> {
        let opened = Rc::new(Opened::default());
        *self.opening.borrow_mut() = Some(Rc::clone(&opened));
        let opening = Opening { slot: self, opened };
        let conn = async {
            let fresh = open(place).await?;
            let conn = Shared::open(fresh, terms.ping, terms.wait, &self.room).await;
            conn.map_err(UpstreamError::Connect)
        };
        match conn.await {
            // It takes no requests for now: they are better off elsewhere than in its queue.
            Ok(conn) if !conn.has_room(terms.streams_max as usize) => Err(UpstreamError::Full),
            Ok(conn) => {
                let conn = Rc::new(conn);
                self.shared.borrow_mut().push(Rc::clone(&conn));
                self.room.notify_waiters();
                Ok(Stream::new(conn))
            }
            Err(error) => {
                opening.opened.failed.set(error.connect_fault());
                Err(error)
            }
        }
    }

    fn may_grow(&self) -> bool {
        self.shared.borrow().len() < CONNECTIONS_MAX
    }

    /// Waits until a stream has ended, or there may be a connection more: then with its place.
    async fn wait(
        &self,
        home: &Home,
        terms: &Terms,
        until: &mut Option<tokio::time::Instant>,
    ) -> Result<Option<Place>, UpstreamError> {
        let now = tokio::time::Instant::now();
        let end = *until.get_or_insert(now + terms.wait);
        let room = self.room.notified();
        if self.may_grow() {
            // The destination has as many connections as it may.
            let _queued = Queued::new(&self.queued);
            let mut waiting = home.stand(&terms.thresholds)?;
            let left = end.saturating_duration_since(now);
            return tokio::select! {
                place = waiting.granted(left) => Ok(place?),
                () = room => Ok(None),
            };
        }
        let _pending = home.breaker.pend(&terms.thresholds)?;
        match timeout_at(end, room).await {
            Ok(()) => Ok(None),
            Err(_) => Err(UpstreamError::Full),
        }
    }

    /// Ends connections for as long as somebody waits for them. One that is in use ends with the
    /// requests that it has and takes no more.
    pub(crate) fn give_up(&self, breaker: &Arc<Breaker>, now: Instant) {
        while let Some(at) = self.expendable(now)
            && let Some(ending) = breaker.end_one()
        {
            let given_up = self.shared.borrow_mut().swap_remove(at);
            given_up.end(ending);
        }
    }

    /// The connection that is missed least: one that rests, else the least busy of several, else the
    /// only one when it has served for a while. None while requests here wait for more themselves.
    fn expendable(&self, now: Instant) -> Option<usize> {
        let shared = self.shared.borrow();
        let busy = shared.iter().map(|it| it.streams.get());
        let (at, streams) = busy.enumerate().min_by_key(|(_, streams)| *streams)?;
        let spare = shared.len() > 1 || shared[at].age(now) >= SLICE;
        (streams == 0 || (spare && self.queued.get() == 0)).then_some(at)
    }

    /// Closes what rests for as long as there are more connections than allowed.
    pub(crate) fn shrink(&self, breaker: &Breaker) {
        let mut shared = self.shared.borrow_mut();
        if breaker.exceeds() {
            // Their places come back when the task of each connection ends: one at a time.
            let resting = shared.iter().position(|it| it.streams.get() == 0);
            resting.map(|at| shared.swap_remove(at));
        }
    }

    /// Forgets connections that take no more requests or rested too long. They end when the requests
    /// on them have.
    pub(crate) fn sweep(&self, limits: Limits, now: Instant) {
        self.shared.borrow_mut().retain(|shared| {
            shared.takes_requests(limits, now) && !shared.rested(limits.idle, now)
        });
    }

    pub(crate) fn clear(&self) {
        self.shared.borrow_mut().clear();
    }
}

// === impl Stream ===

impl Stream {
    fn new(conn: Rc<Shared>) -> Self {
        let rested = conn.requests.get() > 0 && conn.streams.get() == 0;
        conn.streams.set(conn.streams.get() + 1);
        conn.requests.set(conn.requests.get().saturating_add(1));
        Self { conn, rested }
    }

    /// Whether the connection had served before and nothing was going on when this began.
    pub(crate) fn rested(&self) -> bool {
        self.rested
    }

    /// Whom the upstream proved to be.
    pub(crate) fn peer(&self) -> Option<Rc<Proved>> {
        self.conn.peer.clone()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let mut send = self.conn.send.clone();
        if let Err(source) = send.ready().await {
            return Err(Failed {
                source,
                fault: StreamFault::Closed,
                unsent: true,
                body: Some(request.into_body()),
            });
        }
        match send.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => {
                let body = failed.take_message().map(Request::into_body);
                let fault = StreamFault::of(failed.error());
                if fault == StreamFault::Refused {
                    self.conn.refused.set(true);
                }
                Err(Failed {
                    source: failed.into_error(),
                    fault,
                    unsent: body.is_some() || fault.is_unprocessed(),
                    body,
                })
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conn.streams.set(self.conn.streams.get() - 1);
        self.conn.idle_since.set(Instant::now());
        self.conn.room.notify_one();
    }
}

// === impl Opening ===

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        *self.slot.opening.borrow_mut() = None;
        self.opened.done.notify_waiters();
    }
}

// === impl Queued ===

impl<'s> Queued<'s> {
    fn new(count: &'s Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
