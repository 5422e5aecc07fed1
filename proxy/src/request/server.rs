//! One downstream connection: which HTTP it speaks, and its requests one after another or side by
//! side.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
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
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Serves a connection until either side ends it.
pub async fn connection(worker: Rc<Worker>, mut io: Io, downstream: Downstream) {
    let mut ticket = worker.drain.enter();
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
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
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

/// Runs a connection; when the worker drains, lets it end after the request it is in.
async fn drive<C, T>(mut conn: Pin<T>, mut ticket: Ticket, end: impl Fn(Pin<&mut C>)) -> C::Output
where
    C: Future,
    T: std::ops::DerefMut<Target = C>,
{
    poll_fn(|cx| {
        if ticket.is_told(cx) {
            end(conn.as_mut());
        }
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
            poll_fn(|cx| {
                if ticket.is_told(cx) {
                    return std::task::Poll::Ready(Ok(0));
                }
                read.as_mut().poll(cx)
            })
            .await?
        };
        let undecided = HTTP2_PREFACE.starts_with(&buf) && buf.len() < HTTP2_PREFACE.len();
        if read == 0 || !undecided {
            return Ok(buf.freeze());
        }
    }
}
