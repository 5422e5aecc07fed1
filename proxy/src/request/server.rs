//! One downstream connection: which HTTP it speaks, and its requests one after another or side by
//! side.

mod http2;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::drain::Ticket;
use crate::io::{Io, Prefixed};
use crate::request::{Downstream, pipeline};
use crate::worker::Worker;

/// First read of a connection.
const FIRST_READ_BYTES: usize = 4 * 1024;
/// Limit of the wait for the first bytes.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head of an HTTP/1.1 request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 128;
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

async fn serve(worker: Rc<Worker>, mut io: Io, downstream: Downstream, mut ticket: Ticket) {
    let _counted = worker.count_connection();
    let first = match timeout(FIRST_BYTES_TIMEOUT, first_bytes(&mut io, &mut ticket)).await {
        Ok(Ok(first)) if !first.is_empty() => first,
        Ok(_) | Err(_) => return,
    };
    let is_http2 = first.starts_with(http2::PREFACE);
    let io = Prefixed::new(first, io);
    let downstream = Rc::new(downstream);
    let answer = move |request: Request<Incoming>| {
        let (worker, downstream) = (Rc::clone(&worker), Rc::clone(&downstream));
        async move { pipeline::serve(worker, &downstream, request).await }
    };
    let ended = if is_http2 {
        http2::serve(io, ticket, answer).await
    } else {
        let service = service_fn(move |request| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let conn = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(io), service);
        let conn = pin!(conn);
        drive(conn, ticket, |conn| conn.graceful_shutdown()).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "downstream connection ended");
    }
}

/// Runs a connection; when the worker drains, lets it end after the request it is in. It is polled
/// before it is told, so that one that came last still begins the request that came with it.
async fn drive<C, T>(mut conn: Pin<T>, mut ticket: Ticket, end: impl Fn(Pin<&mut C>)) -> C::Output
where
    C: Future,
    T: std::ops::DerefMut<Target = C>,
{
    let mut told = false;
    poll_fn(|cx| {
        let polled = conn.as_mut().poll(cx);
        if polled.is_ready() || told || !ticket.is_told(cx) {
            return polled;
        }
        told = true;
        end(conn.as_mut());
        conn.as_mut().poll(cx)
    })
    .await
}

/// Reads until it is clear whether the HTTP/2 preface comes; empty if the peer or the worker ends
/// the connection first.
async fn first_bytes(io: &mut Io, ticket: &mut Ticket) -> io::Result<Bytes> {
    let mut buf = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        let read = {
            let mut read = pin!(io.read_buf(&mut buf));
            let came = poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending if ticket.is_told(cx) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match came.await {
                Some(read) => read?,
                None => {
                    // The system may hold bytes that the runtime has not heard of yet.
                    tokio::task::yield_now().await;
                    let last = poll_fn(|cx| match read.as_mut().poll(cx) {
                        Poll::Ready(read) => Poll::Ready(read),
                        Poll::Pending => Poll::Ready(Ok(0)),
                    });
                    last.await?
                }
            }
        };
        let undecided = http2::PREFACE.starts_with(&buf) && buf.len() < http2::PREFACE.len();
        if read == 0 || !undecided {
            return Ok(buf.freeze());
        }
    }
}
