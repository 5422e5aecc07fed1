//! HTTP/2 connections to endpoints, shared by the requests of one worker.

pub(crate) mod headers;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use crate::body::Body;
use crate::io::Io;
use crate::upstream::connect::Open;

/// Streams that share one connection before another is opened; what peers commonly allow.
const STREAMS_PER_CONNECTION: usize = 100;
/// Most connections of one worker to one endpoint.
const CONNECTIONS_MAX: usize = 64;
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes: room for every stream, so that callers who read
/// slowly hold up nobody else.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_PER_CONNECTION as u32;

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Present while a connection is being opened: the others wait for it instead of each opening
    /// one of their own.
    opening: RefCell<Option<Rc<Opened>>>,
}

/// One connection and the requests on it.
#[derive(Debug)]
pub(crate) struct Shared {
    send: SendRequest<Body>,
    streams: Cell<usize>,
    requests: Cell<u32>,
    idle_since: Cell<Instant>,
}

/// A place on a connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Stream(Rc<Shared>);

/// A request without an answer.
pub(crate) struct Failed {
    pub(crate) source: hyper::Error,
    /// Whether nothing of the request can have been processed.
    pub(crate) unsent: bool,
    /// The body, if it was not touched.
    pub(crate) body: Option<Body>,
}

/// How the opening of a connection ended, for those who wait for it.
#[derive(Debug, Default)]
struct Opened {
    done: Notify,
    failed: Cell<bool>,
}

/// Clears the mark of an opening connection however it ends.
struct Opening<'s> {
    slot: &'s Slot,
    opened: Rc<Opened>,
}

/// Runs the tasks of HTTP/2 connections on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

// === impl Slot ===

impl Slot {
    /// A place on a connection; opens one by `open` if there is none with room.
    pub(crate) async fn stream<E>(
        &self,
        open: impl AsyncFnOnce() -> Result<(Io, Open), E>,
        handshake_error: impl FnOnce(hyper::Error) -> E,
        failed: impl FnOnce() -> E,
    ) -> Result<(Stream, bool), E> {
        loop {
            if let Some(stream) = self.reuse() {
                return Ok((stream, true));
            }
            let opening = self.opening.borrow().clone();
            let Some(opening) = opening else { break };
            opening.done.notified().await;
            // Whoever waited shares the failure: one after the other would wait as often as there
            // are waiters.
            if opening.failed.get() {
                return Err(failed());
            }
        }
        let opened = Rc::new(Opened::default());
        *self.opening.borrow_mut() = Some(Rc::clone(&opened));
        opened.failed.set(true);
        let opening = Opening { slot: self, opened };
        let (io, counted) = open().await?;
        let (send, connection) = http2::Builder::new(LocalExecutor)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(TokioIo::new(io))
            .await
            .map_err(handshake_error)?;
        tokio::task::spawn_local(async move {
            let _counted = counted;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream http2 connection ended");
            }
        });
        let shared = Rc::new(Shared {
            send,
            streams: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        });
        self.shared.borrow_mut().push(Rc::clone(&shared));
        opening.opened.failed.set(false);
        Ok((Stream::new(shared), false))
    }

    fn reuse(&self) -> Option<Stream> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| !shared.send.is_closed());
        let least = shared.iter().min_by_key(|shared| shared.streams.get())?;
        let full = least.streams.get() >= STREAMS_PER_CONNECTION && shared.len() < CONNECTIONS_MAX;
        (!full).then(|| Stream::new(Rc::clone(least)))
    }

    /// Takes a connection out of use once it has carried `requests_max` requests (0: never).
    pub(crate) fn retire(&self, stream: &Stream, requests_max: u32) {
        if requests_max != 0 && stream.0.requests.get() >= requests_max {
            self.shared
                .borrow_mut()
                .retain(|shared| !Rc::ptr_eq(shared, &stream.0));
        }
    }

    /// Forgets connections that ended or rested too long.
    pub(crate) fn sweep(&self, timeout: Duration, now: Instant) {
        self.shared.borrow_mut().retain(|shared| {
            let resting = shared.streams.get() == 0
                && now.saturating_duration_since(shared.idle_since.get()) >= timeout;
            !shared.send.is_closed() && !resting
        });
    }

    pub(crate) fn clear(&self) {
        self.shared.borrow_mut().clear();
    }
}

// === impl Stream ===

impl Stream {
    fn new(shared: Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.requests.set(shared.requests.get().saturating_add(1));
        Self(shared)
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let mut send = self.0.send.clone();
        if let Err(source) = send.ready().await {
            return Err(Failed {
                source,
                unsent: true,
                body: Some(request.into_body()),
            });
        }
        match send.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => {
                let body = failed.take_message().map(Request::into_body);
                let unsent = body.is_some() || is_refused(failed.error());
                Err(Failed {
                    source: failed.into_error(),
                    unsent,
                    body,
                })
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// RFC 9113 §8.7: a refused stream, and one above the last of a GOAWAY, was not processed.
fn is_refused(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        if let Some(h2) = source.downcast_ref::<h2::Error>() {
            let gone = h2.is_go_away() && h2.is_remote();
            return h2.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (gone && h2.reason() == Some(h2::Reason::NO_ERROR));
        }
        cause = source.source();
    }
    false
}

// === impl Opening ===

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        *self.slot.opening.borrow_mut() = None;
        self.opened.done.notify_waiters();
    }
}
