//! One downstream connection: which HTTP it speaks, and its requests one after another or side by
//! side.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::drain::Ticket;
use crate::io::{Io, Prefixed};
use crate::request::{Downstream, pipeline};
use crate::upstream::http2::LocalExecutor;
use crate::worker::Worker;

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First read of a connection.
const FIRST_READ_BYTES: usize = 4 * 1024;
/// Limit of the wait for the first bytes.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head of an HTTP/1.1 request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 128;
/// Most concurrent requests of an HTTP/2 connection.
const STREAMS_MAX: u32 = 1_000;
/// How often a silent HTTP/2 peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Limit of the wait for its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

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
    let is_http2 = first.starts_with(HTTP2_PREFACE);
    let io = TokioIo::new(Prefixed::new(first, io));
    let downstream = Rc::new(downstream);
    let service = service_fn(move |request| {
        let worker = Rc::clone(&worker);
        let downstream = Rc::clone(&downstream);
        async move { Ok::<_, Infallible>(pipeline::serve(worker, &downstream, request).await) }
    });
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let conn = Box::pin(builder.serve_connection(io, service));
        drive(conn, ticket, |conn| conn.graceful_shutdown()).await
    } else {
        let conn = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(io, service);
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
        let undecided = HTTP2_PREFACE.starts_with(&buf) && buf.len() < HTTP2_PREFACE.len();
        if read == 0 || !undecided {
            return Ok(buf.freeze());
        }
    }
}
