//! Downstream connections that speak HTTP/2 (RFC 9113).
//!
//! The HTTP library keeps the protocol; `guard` and `conduct` stand before it and judge what the
//! peer's frames cost us, and `watch` finds answers that the peer does not take.

mod conduct;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod guard;
mod watch;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use self::guard::{Guarded, Remains};
use self::watch::{Found, LOOK_INTERVAL, Tasks, Watch};
use crate::drain::Ticket;
use crate::io::Prefixed;

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest head of a request, in bytes (RFC 9113 §6.5.2).
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most concurrent requests of a connection; what is usual, and room for gRPC clients, which open
/// another connection beyond it.
const STREAMS_MAX: u32 = 100;
/// Most streams that the peer reset before their request was begun: more than can come in one turn,
/// so that the conduct's budget is the limit that counts. Cancelling much at once is no attack.
const RESETS_PENDING_MAX: usize = 1_024;
/// Most streams that the library resets for errors of the peer in the life of a connection; the
/// conduct's budget stops a flood of them long before.
const ERRORS_MAX: usize = 1 << 16;
/// Largest frame that is taken, in bytes: the smallest limit there may be (RFC 9113 §4.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Size of the table of header compression, in bytes: the default of HTTP/2 (RFC 9113 §6.5.2).
const HEADER_TABLE_BYTES: u32 = 4 * 1024;
/// Flow-control window of a stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow-control window of a connection, in bytes. It bounds what uploads occupy while they wait for
/// their upstreams.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of an answer above which a stream takes no more until some have left. With the piece that
/// was read last it bounds what answers occupy while they wait for the peer.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How often a silent peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Limit of the wait for its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit of the time in which the peer may read why the connection ended. Closing with bytes unread
/// resets it, and takes what was not read from the peer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that are thrown away in that time.
const LINGER_BYTES_MAX: usize = 4 << 20;
/// Size of a piece of what is thrown away, in bytes.
const LINGER_PIECE_BYTES: usize = 16 * 1024;
/// Error code of an end without error (RFC 9113 §7).
const NO_ERROR: u32 = 0x0;
/// Error code of a peer that wears us out.
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// Cause of answers and connections that the peer did not take.
const STALLED: &str = "http2_stalled";

/// Stands for an answer: the stream is reset instead, with `INTERNAL_ERROR`.
#[derive(Debug, thiserror::Error)]
#[error("the stream is reset on purpose")]
pub(super) struct Reset;

/// Serves requests side by side until either side ends the connection. `rejected` learns the causes
/// for which requests or the connection were ended because of the peer.
pub(super) async fn serve<F, B>(
    io: Prefixed,
    ticket: Ticket,
    rejected: impl Fn(&'static str),
    answer: impl Fn(Request<Incoming>) -> F + 'static,
) -> hyper::Result<()>
where
    F: Future<Output = Result<Response<B>, Reset>> + 'static,
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watch = Rc::new(Watch::default());
    let entrance = Rc::clone(&watch);
    let service = service_fn(move |request| {
        let entry = entrance.enter();
        // In a box, because the library moves the future several times on its way into a task.
        let answer = Box::pin(answer(request));
        async move {
            let response = answer.await?;
            Ok::<_, Reset>(response.map(|body| entry.watch(body)))
        }
    });
    let mut builder = http2::Builder::new(Tasks(Rc::clone(&watch)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_frame_size(FRAME_BYTES_MAX)
        .header_table_size(HEADER_TABLE_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let io = TokioIo::new(Guarded::new(io, Rc::clone(&watch)));
    let conn = Box::pin(builder.serve_connection(io, service));
    let ended = drive(
        conn,
        ticket,
        |conn| conn.graceful_shutdown(),
        &watch,
        &rejected,
    )
    .await;
    if let Some(remains) = watch.take_remains() {
        part(remains, rejected).await;
    }
    ended
}

/// Runs the connection, looks after its answers, and when the worker drains lets it end after the
/// requests it is in. It is polled before it is told, so that one that came last still begins the
/// requests that came with it.
async fn drive<C>(
    mut conn: Pin<Box<C>>,
    mut ticket: Ticket,
    end: impl Fn(Pin<&mut C>),
    watch: &Watch,
    rejected: &impl Fn(&'static str),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut told = false;
    let mut look = pin!(sleep(LOOK_INTERVAL));
    poll_fn(|cx| {
        while look.as_mut().poll(cx).is_ready() {
            look.as_mut().reset(Instant::now() + LOOK_INTERVAL);
            match watch.look() {
                Found::Moving { ended } => (0..ended).for_each(|_| rejected(STALLED)),
                Found::Lingering => end(conn.as_mut()),
                Found::Stuck => {
                    rejected(STALLED);
                    return Poll::Ready(Ok(()));
                }
            }
        }
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

/// Tells a peer that broke the rules why the connection ends, and lets it read that.
async fn part(remains: Remains, rejected: impl Fn(&'static str)) {
    let cause = match (remains.misconduct, remains.farewell) {
        (Some(misconduct), _) => misconduct.as_str(),
        (None, None | Some(NO_ERROR)) => return,
        (None, Some(ENHANCE_YOUR_CALM)) => "http2_excess",
        (None, Some(_)) => "http2_protocol_error",
    };
    rejected(cause);
    tracing::debug!(cause, "downstream connection given up");
    let tells = remains.misconduct.is_some() && remains.can_send_frame;
    let mut io = remains.io.into_inner();
    let farewell = async {
        if tells {
            io.write_all(&goaway(remains.last_stream)).await?;
        }
        io.shutdown().await?;
        let mut piece = vec![0; LINGER_PIECE_BYTES];
        for _ in 0..LINGER_BYTES_MAX / LINGER_PIECE_BYTES {
            if io.read(&mut piece).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    // A peer that is gone or does not listen learns nothing.
    let _ = timeout(LINGER_TIMEOUT, farewell).await;
}

/// GOAWAY (RFC 9113 §6.8) for a peer that wears us out.
fn goaway(last_stream: u32) -> [u8; 17] {
    let mut frame = [
        0,
        0,
        8,
        frames::kind::GOAWAY,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame[13..].copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests;
