//! Downstream connections that speak HTTP/2 (RFC 9113).

use std::convert::Infallible;
use std::future::Future;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::time::Duration;

use crate::drain::Ticket;
use crate::io::Prefixed;
use crate::request::record::Recorded;
use crate::request::server::drive;
use crate::upstream::http2::LocalExecutor;

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest head of a request, in bytes (RFC 9113 §6.5.2).
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Most concurrent requests of a connection.
const STREAMS_MAX: u32 = 1_000;
/// How often a silent peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Limit of the wait for its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Serves requests side by side until either side ends the connection.
pub(super) async fn serve<F>(
    io: Prefixed,
    ticket: Ticket,
    answer: impl Fn(Request<Incoming>) -> F + 'static,
) -> hyper::Result<()>
where
    F: Future<Output = Response<Recorded>> + 'static,
{
    let service = service_fn(move |request| {
        // In a box, because the library moves the future several times on its way into a task.
        let answer = Box::pin(answer(request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let conn = Box::pin(builder.serve_connection(TokioIo::new(io), service));
    drive(conn, ticket, |conn| conn.graceful_shutdown()).await
}
