//! One downstream connection: which HTTP it speaks, and its requests one after another or side by
//! side.

pub(crate) mod http1;
mod http2;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use http2::fuzz as http2_fuzz;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use hyper::body::Incoming;
use tokio::io::AsyncReadExt;

use crate::drain::Ticket;
use crate::io::{Io, Prefixed};
use crate::listener::original_dst::original_dst;
use crate::request::{Arrived, Downstream, pipeline};
use crate::snapshot::Current;
use crate::table::Transport;
use crate::tcp;
use crate::tls;
use crate::tls::gateway::{Arrived as LetIn, OpaqueArrival};
use crate::tls::handshakes::Shaking;
use crate::tls::server::{Agreed, HandshakeError, Secured};
use crate::tls::workload::is_tls;
use crate::worker::Worker;

/// First read of a connection.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Serves a connection until either side ends it. It counts as open from the call on, so that nobody
/// who waits for the last connection misses one that was not polled yet.
pub fn connection(
    worker: Rc<Worker>,
    io: Io,
    downstream: Downstream,
) -> impl Future<Output = ()> + 'static {
    let ticket = worker.drain.enter(&downstream.bind);
    serve(worker, io, downstream, ticket)
}

async fn serve(worker: Rc<Worker>, io: Io, mut downstream: Downstream, mut ticket: Ticket) {
    let _counted = worker.count_connection();
    downstream.ending = Some(ticket.ending());
    let entered = match enter(&worker, io, &mut downstream, &mut ticket).await {
        Ok(Some(Entry::Http(entered))) => entered,
        Ok(Some(Entry::Opaque(snapshot, arrival))) => {
            let carried = tcp::serve(worker, snapshot, downstream, *arrival, ticket);
            return Box::pin(carried).await;
        }
        Ok(None) => return,
        Err(Refused { error, shaking }) => {
            worker.refuse_handshake(&downstream, &error);
            if let Some(shaking) = shaking {
                Box::pin(shaking.part()).await;
            }
            return;
        }
    };
    let Entered {
        mut io,
        agreed,
        mut first,
    } = entered;
    if first.is_empty() {
        ticket.wait(Some(worker.limits.idle_timeout));
        first = match first_bytes(&mut io, &mut ticket, worker.limits.head_timeout).await {
            Ok(first) if !first.is_empty() => first,
            Ok(_) | Err(_) => return,
        };
    }
    ticket.wait(None);
    if agreed != Agreed::Http2 && !first.starts_with(http2::PREFACE) {
        return http1::serve(worker, &downstream, io, first, ticket).await;
    }
    let downstream = Rc::new(downstream);
    let counts = Rc::clone(&worker);
    let answer = move |request: Request<Incoming>| {
        let (worker, downstream) = (Rc::clone(&worker), Rc::clone(&downstream));
        let arrived = Arrived::from(request);
        async move {
            let response = pipeline::serve(worker, &downstream, arrived).await;
            match response.body().is_reset() {
                true => Err(http2::Reset),
                false => Ok(response),
            }
        }
    };
    let io = Prefixed::new(first.freeze(), io);
    let rejected = |cause| counts.count_rejection(cause);
    if let Err(error) = http2::serve(io, ticket, rejected, answer).await {
        tracing::debug!(%error, "downstream connection ended");
    }
}

/// A connection that was let in.
enum Entry {
    Http(Entered),
    /// It goes where its route leads, by the snapshot that the route is of.
    Opaque(Current, Box<OpaqueArrival>),
}

/// A connection whose HTTP is to come.
struct Entered {
    io: Io,
    agreed: Agreed,
    /// What was read of it already.
    first: BytesMut,
}

/// A connection that was not let in.
struct Refused {
    error: HandshakeError,
    /// Its handshake, if there was one.
    shaking: Option<Shaking>,
}

impl Refused {
    fn within(shaking: Shaking, error: HandshakeError) -> Self {
        Self {
            error,
            shaking: Some(shaking),
        }
    }
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        Self {
            error,
            shaking: None,
        }
    }
}

/// Lets a connection in as its listener asks for; none if the client went away.
async fn enter(
    worker: &Worker,
    mut io: Io,
    downstream: &mut Downstream,
    ticket: &mut Ticket,
) -> Result<Option<Entry>, Refused> {
    if !find_original(worker, &io, downstream) {
        return Ok(None);
    }
    let mut first = BytesMut::new();
    if listens_for_tls(worker, downstream) {
        ticket.wait(Some(worker.limits.idle_timeout));
        first = match first_bytes(&mut io, ticket, worker.limits.head_timeout).await {
            Ok(first) if !first.is_empty() => first,
            Ok(_) | Err(_) => return Ok(None),
        };
        ticket.wait(None);
    }
    // Loaded when the client has begun to speak: what is asked for may have changed meanwhile.
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener_of(downstream);
    let secured = match listener.map(|it| &it.transport) {
        Some(Transport::Servers(servers)) => {
            let shaking = worker
                .handshakes
                .begin(downstream.peer.map(|peer| peer.ip()));
            // A handshake is large, and most connections have none.
            let accepting = Box::pin(tls::gateway::accept(servers, io, &shaking));
            match shaking.unless_given_up(accepting).await {
                Ok(LetIn::Http(secured)) => secured,
                Err(error) => return Err(Refused::within(shaking, error)),
                Ok(LetIn::Opaque(mut arrival)) => {
                    if let Some(resumed) = arrival.resumed {
                        worker.count_handshake(resumed);
                    }
                    downstream.security = arrival.security.take();
                    return Ok(Some(Entry::Opaque(snapshot, Box::new(arrival))));
                }
            }
        }
        Some(Transport::Permissive(own) | Transport::Strict(Some(own))) if is_tls(&first) => {
            let shaking = worker
                .handshakes
                .begin(downstream.peer.map(|peer| peer.ip()));
            let accepting = Box::pin(tls::workload::accept(own, first, io, &shaking));
            match shaking.unless_given_up(accepting).await {
                Ok(secured) => secured,
                Err(error) => return Err(Refused::within(shaking, error)),
            }
        }
        Some(Transport::Strict(None)) => return Err(HandshakeError::NoIdentity.into()),
        Some(Transport::Strict(Some(_))) => return Err(HandshakeError::PlainText.into()),
        Some(Transport::Plain | Transport::Permissive(_)) | None => {
            let agreed = Agreed::Other;
            return Ok(Some(Entry::Http(Entered { io, agreed, first })));
        }
    };
    let Secured {
        io,
        security,
        protocol: agreed,
        resumed,
    } = secured;
    worker.count_handshake(resumed);
    downstream.secure(security);
    let first = BytesMut::new();
    Ok(Some(Entry::Http(Entered { io, agreed, first })))
}

/// Notes where a connection was going that was captured. Says whether it may go on: one that nobody
/// redirected could only lead back here.
fn find_original(worker: &Worker, io: &Io, downstream: &mut Downstream) -> bool {
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener(&downstream.bind);
    if listener.is_none_or(|listener| listener.captured.is_none()) {
        return true;
    }
    downstream.original = original_dst(io);
    downstream.original.is_some()
}

/// Whether the first bytes of a connection tell if it is in TLS.
fn listens_for_tls(worker: &Worker, downstream: &Downstream) -> bool {
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener_of(downstream);
    match listener.map(|it| &it.transport) {
        Some(Transport::Permissive(_) | Transport::Strict(Some(_))) => true,
        Some(Transport::Plain | Transport::Servers(_) | Transport::Strict(None)) | None => false,
    }
}

/// Reads until it is clear whether the HTTP/2 preface comes; empty if the peer or the worker ends
/// the connection first, or nothing comes in time. A connection that waits for its first byte has no
/// buffer.
async fn first_bytes(io: &mut Io, ticket: &mut Ticket, limit: Duration) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    loop {
        let poll_ready = |cx: &mut Context<'_>| match io.poll_read_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.map(|()| true)),
            Poll::Pending if ticket.is_told(cx) || ticket.is_late() => Poll::Ready(Ok(false)),
            Poll::Pending => Poll::Pending,
        };
        if !poll_fn(poll_ready).await? {
            // The system may hold bytes that the runtime has not heard of yet.
            tokio::task::yield_now().await;
        }
        buf.reserve(FIRST_READ_BYTES);
        let mut read = pin!(io.read_buf(&mut buf));
        let read = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending if ticket.is_told(cx) || ticket.is_late() => Poll::Ready(Ok(0)),
            Poll::Pending => Poll::Pending,
        });
        let read = read.await?;
        let undecided = http2::PREFACE.starts_with(&buf) && buf.len() < http2::PREFACE.len();
        if read == 0 || !undecided {
            return Ok(buf);
        }
        ticket.wait(Some(limit));
    }
}
