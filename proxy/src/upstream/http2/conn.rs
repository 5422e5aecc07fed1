//! One HTTP/2 connection: how it begins, what runs it, and how it ends.
//!
//! The HTTP library splits a connection into tasks. One task of ours owns them all: it knows when the
//! last user is gone and gives what is left a bounded time to say goodbye.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::body::Body;
use crate::io::Io;
use crate::telemetry::metrics::Proved;
use crate::upstream::breaker::Ending;
use crate::upstream::connect::{ConnectError, Fresh, Open};
use crate::upstream::destination::Ping;
use crate::upstream::http2::STREAMS_DEFAULT;
use crate::upstream::pool::Limits;

/// Largest head of an answer, in bytes (RFC 9113 §6.5.2).
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes: room for every stream, so that callers who read
/// slowly hold up nobody else.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_DEFAULT;
/// Streams that may break the protocol before the connection is ended.
const BROKEN_STREAMS_MAX: usize = 64;
/// Streams that we reset and that are remembered, so that what the upstream still sends on them is
/// not taken for a mistake.
const RESET_STREAMS_MAX: usize = 64;
/// Stands for a limit of streams that the upstream has not told yet; it cannot tell this one.
const STREAMS_UNKNOWN: usize = usize::MAX - 1;
/// Time that a connection has to end once nobody uses it.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection and how much it is used.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) send: SendRequest<Body>,
    intake: Rc<Intake>,
    opened: Instant,
    pub(super) streams: Cell<usize>,
    pub(super) requests: Cell<u32>,
    pub(super) idle_since: Cell<Instant>,
    /// Set when the upstream refused a stream: the next one would fare no better here.
    pub(super) refused: Cell<bool>,
    /// Whoever waits for room on a connection of the endpoint.
    pub(super) room: Rc<Notify>,
    /// Whom the upstream proved to be.
    pub(super) peer: Option<Rc<Proved>>,
    /// Set when it ends for somebody who waits for its place.
    ending: Rc<RefCell<Option<Ending>>>,
    /// Tells the owner of the tasks, by being dropped with the last user, that it can end.
    _in_use: oneshot::Sender<Infallible>,
}

/// The part of a connection that takes new requests, until it ends. It can end long before the
/// requests under way do: after a GOAWAY of the upstream the driver carries those on alone.
#[derive(Debug)]
struct Intake(RefCell<Option<Connection<TokioIo<Io>, Body, Tasks>>>);

/// Runs the library's tasks on the worker's own thread.
#[derive(Debug, Clone, Default)]
struct Tasks(Rc<Driver>);

/// The task that reads and writes: the first one that the library starts. The others are of one
/// request each and end with it.
#[derive(Debug, Default)]
struct Driver {
    task: RefCell<Option<JoinHandle<()>>>,
    /// Something was read or written, or the task ended.
    moved: Notify,
    ended: Cell<bool>,
}

/// Marks a driver as ended however it ends.
struct Ended(Rc<Driver>);

// === impl Shared ===

impl Shared {
    /// Begins HTTP/2 on `io` and waits for the upstream's first words: they tell how many streams it
    /// takes, and until then nothing shows that it speaks HTTP/2 at all.
    pub(super) async fn open(
        fresh: Fresh,
        ping: Option<Ping>,
        limit: Duration,
        room: &Rc<Notify>,
    ) -> Result<Self, ConnectError> {
        let Fresh { io, open, peer } = fresh;
        let tasks = Tasks::default();
        let driver = Rc::clone(&tasks.0);
        let mut builder = http2::Builder::new(tasks);
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(STREAMS_UNKNOWN)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .max_local_error_reset_streams(BROKEN_STREAMS_MAX);
        if let Some(Ping { interval, timeout }) = ping {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(true);
        }
        let (send, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| ConnectError::Handshake(Some(source)))?;
        let (in_use, unused) = oneshot::channel();
        let intake = Rc::new(Intake(RefCell::new(Some(connection))));
        let ending = Rc::default();
        let place = (open, Rc::clone(&ending));
        let owner = own(Rc::clone(&intake), Rc::clone(&driver), place, unused);
        tokio::task::spawn_local(owner);
        match timeout(limit, intake.settled(&driver)).await {
            Ok(true) => {}
            Ok(false) => return Err(ConnectError::Handshake(None)),
            Err(_) => return Err(ConnectError::Timeout(limit)),
        }
        let now = Instant::now();
        Ok(Self {
            send,
            intake,
            opened: now,
            streams: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            refused: Cell::new(false),
            room: Rc::clone(room),
            ending,
            peer,
            _in_use: in_use,
        })
    }

    /// Whether new requests may go on it at all.
    pub(super) fn takes_requests(&self, limits: Limits, now: Instant) -> bool {
        let old = |age| now.saturating_duration_since(self.opened) >= age;
        let worn = limits.requests != 0 && self.requests.get() >= limits.requests;
        let ending = self.send.is_closed() || self.refused.get();
        !ending && !worn && !limits.age.is_some_and(old)
    }

    /// Counts it as one that ends until its place is free.
    pub(super) fn end(&self, ending: Ending) {
        *self.ending.borrow_mut() = Some(ending);
    }

    /// Time since it was opened.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// Whether one more stream is allowed at this moment, by us and by the upstream.
    pub(super) fn has_room(&self, streams_max: usize) -> bool {
        let streams = self.streams.get();
        streams < streams_max && streams < self.intake.streams_max()
    }

    /// Whether nothing happens on it, for at least `limit`.
    pub(super) fn rested(&self, limit: Duration, now: Instant) -> bool {
        self.streams.get() == 0 && now.saturating_duration_since(self.idle_since.get()) >= limit
    }
}

// === impl Intake ===

impl Intake {
    /// Streams that the upstream takes at once; none once the connection takes no more requests.
    fn streams_max(&self) -> usize {
        let connection = self.0.borrow();
        connection
            .as_ref()
            .map_or(0, Connection::current_max_send_streams)
    }

    /// Ready when the upstream has told its settings (true) or the connection has ended.
    async fn settled(&self, driver: &Driver) -> bool {
        loop {
            let moved = driver.moved.notified();
            match self.streams_max() {
                STREAMS_UNKNOWN if driver.ended.get() => return false,
                STREAMS_UNKNOWN => moved.await,
                0 if self.0.borrow().is_none() => return false,
                _ => return true,
            }
        }
    }

    /// Takes requests until the connection ends, and lets go of it then.
    async fn run(&self) -> hyper::Result<()> {
        poll_fn(|cx| {
            let mut connection = self.0.borrow_mut();
            let ended = match connection.as_mut() {
                Some(connection) => ready!(Pin::new(connection).poll(cx)),
                None => Ok(()),
            };
            let connection = connection.take();
            drop(connection);
            Poll::Ready(ended)
        })
        .await
    }
}

/// Keeps the tasks of a connection until nobody uses it, then ends them.
async fn own(
    intake: Rc<Intake>,
    driver: Rc<Driver>,
    // What counts it as open, and for whom it ends.
    _place: (Open, Rc<RefCell<Option<Ending>>>),
    mut unused: oneshot::Receiver<Infallible>,
) {
    let mut run = pin!(intake.run());
    let ended = tokio::select! {
        ended = &mut run => {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream http2 connection ended");
            }
            true
        }
        _ = &mut unused => false,
    };
    if ended {
        let _ = (&mut unused).await;
    }
    let task = driver.task.borrow_mut().take();
    let Some(mut task) = task else { return };
    let goodbye = async {
        if !ended {
            let _ = run.await;
        }
        let _ = (&mut task).await;
    };
    if timeout(END_TIMEOUT, goodbye).await.is_err() {
        task.abort();
    }
}

// === impl Tasks ===

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let mut task = self.0.task.borrow_mut();
        if task.is_some() || self.0.ended.get() {
            tokio::task::spawn_local(future);
            return;
        }
        let ending = Ended(Rc::clone(&self.0));
        *task = Some(tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            let moved = &ending.0.moved;
            poll_fn(|cx| {
                let polled = future.as_mut().poll(cx);
                moved.notify_waiters();
                polled.map(drop)
            })
            .await;
        }));
    }
}

// === impl Ended ===

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.moved.notify_waiters();
    }
}
