//! One downstream connection: which HTTP it speaks, and its requests one after another or side by
//! side.

pub(crate) mod http1;
mod http2;

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
use crate::request::{Arrived, Downstream, pipeline};
use crate::table::Transport;
use crate::tls::{self, server::Agreed};
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

async fn serve(worker: Rc<Worker>, mut io: Io, mut downstream: Downstream, mut ticket: Ticket) {
    let _counted = worker.count_connection();
    let mut agreed = Agreed::Other;
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener(&downstream.bind);
    if let Some(Transport::Servers(servers)) = listener.map(|it| &it.transport) {
        // A handshake is large, and most connections have none.
        match Box::pin(tls::server::accept(servers, io)).await {
            Ok(secured) => {
                (io, agreed) = (secured.io, secured.protocol);
                downstream.security = Some(secured.security);
            }
            Err(error) => {
                worker.count_rejection(error.cause());
                tracing::debug!(error = &error as &dyn std::error::Error, "no TLS");
                return;
            }
        }
    }
    drop(snapshot);
    ticket.wait(Some(worker.limits.idle_timeout));
    let first = match first_bytes(&mut io, &mut ticket, worker.limits.head_timeout).await {
        Ok(first) if !first.is_empty() => first,
        Ok(_) | Err(_) => return,
    };
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
