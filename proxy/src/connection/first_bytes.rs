//! Waiting for the first bytes of a client.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::poll_read_buf;

use crate::drain::Ticket;
use crate::io::Io;
use crate::request::server::PREFACE;

/// First read of a connection.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Reads until it is clear whether the HTTP/2 preface comes; empty if the peer or the worker ends
/// the connection first, or nothing comes in time. A connection that waits for its first byte has no
/// buffer.
pub(crate) async fn first_bytes(
    io: &mut Io,
    ticket: &mut Ticket,
    limit: Duration,
) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    loop {
        let poll_ready = |cx: &mut Context<'_>| match io.poll_read_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.map(|()| true)),
            Poll::Pending if ticket.leaves(cx) || ticket.is_late() => Poll::Ready(Ok(false)),
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
            Poll::Pending if ticket.leaves(cx) || ticket.is_late() => Poll::Ready(Ok(0)),
            Poll::Pending => Poll::Pending,
        });
        let read = read.await?;
        let undecided = PREFACE.starts_with(&buf) && buf.len() < PREFACE.len();
        if read == 0 || !undecided {
            return Ok(buf);
        }
        ticket.wait(Some(limit));
    }
}

/// What came of waiting for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It said more.
    More,
    /// It ended its side.
    End,
    /// The worker wants connections to end.
    Told,
    /// It is not waited for any longer.
    Late,
    /// Its connection failed.
    Failed,
}

/// What ends the wait for a client that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The worker wants connections to end, or the time of the ticket is over.
    Told,
    /// The time of the ticket is over.
    Late,
}

/// Waits for more bytes, which are added to `bytes`. While there are none they have no memory.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
pub(super) async fn hear(
    io: &mut Io,
    bytes: &mut BytesMut,
    ticket: &mut Ticket,
    until: Until,
) -> Heard {
    match poll_fn(|cx| poll_hear(io, bytes, ticket, until, cx)).await {
        Heard::Late | Heard::Told => {
            // The system may hold bytes that the runtime has not heard of yet.
            tokio::task::yield_now().await;
            poll_fn(|cx| poll_hear(io, bytes, ticket, until, cx)).await
        }
        heard @ (Heard::More | Heard::End | Heard::Failed) => heard,
    }
}

fn poll_hear(
    io: &mut Io,
    bytes: &mut BytesMut,
    ticket: &mut Ticket,
    until: Until,
    cx: &mut Context<'_>,
) -> Poll<Heard> {
    let is_told = ticket.is_told(cx) && until == Until::Told;
    match poll_more(io, bytes, cx) {
        Poll::Ready(Ok(0)) => Poll::Ready(Heard::End),
        Poll::Ready(Ok(_)) => Poll::Ready(Heard::More),
        Poll::Ready(Err(_)) => Poll::Ready(Heard::Failed),
        Poll::Pending if ticket.is_late() => Poll::Ready(Heard::Late),
        Poll::Pending if is_told => Poll::Ready(Heard::Told),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads what there is.
pub(super) fn poll_more(
    io: &mut Io,
    bytes: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    ready!(io.poll_read_ready(cx))?;
    bytes.reserve(FIRST_READ_BYTES);
    let read = poll_read_buf(Pin::new(io), cx, bytes);
    if read.is_pending() && bytes.is_empty() {
        *bytes = BytesMut::new();
    }
    read
}
