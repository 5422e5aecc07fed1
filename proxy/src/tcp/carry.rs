//! Bytes both ways between two connections, until both sides have ended.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::drain::Ticket;
use crate::inbound::authz::Denial;
use crate::io::Io;
use crate::upstream::TcpLimits;

/// Room for one read of either side.
const COPY_BYTES: usize = 16 * 1024;

/// What was carried, and how it ended.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Bytes from the near side to the far one.
    pub(crate) up: u64,
    /// Bytes from the far side to the near one.
    pub(crate) down: u64,
    /// Fine if both sides ended in good order.
    pub(crate) ended: Result<(), Broken>,
}

/// Why there was no good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the near side failed")]
    Near(#[source] io::Error),
    #[error("the far side failed")]
    Far(#[source] io::Error),
    /// Neither side said anything for too long.
    #[error("nothing passed for too long")]
    Idle,
    /// It lasted longer than it may.
    #[error("it lasted longer than it may")]
    Aged,
    /// Policies that came meanwhile forbid it.
    #[error("denied from now on: {0}")]
    Refused(Denial),
}

/// One direction.
struct Flow {
    buf: BytesMut,
    /// The side that is read has ended.
    ended: bool,
    /// So has the side that is written.
    closed: bool,
    bytes: u64,
}

/// Which side of a flow failed.
enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

/// Carries bytes until both sides have ended, one has failed, or a limit is reached. What was read of
/// either side before, `near_read` and `far_read`, goes first. An end of one side is passed on as one;
/// anything else that ends it is a reset on both, as an orderly end would tell that all was heard.
///
/// `refused` ends it, too, once it is ready. `passed` is told how many bytes went up and down since it was told last.
pub(crate) async fn carry(
    (near, near_read): (&mut Io, BytesMut),
    (far, far_read): (&mut Io, BytesMut),
    ticket: &mut Ticket,
    limits: TcpLimits,
    refused: impl Future<Output = Denial>,
    mut passed: impl FnMut(u64, u64),
) -> Carried {
    let (mut up, mut down) = (Flow::new(near_read), Flow::new(far_read));
    let end = limits.age.and_then(|age| Instant::now().checked_add(age));
    wait(ticket, limits.idle, end);
    let mut refused = pin!(refused);
    let ended = poll_fn(|cx| {
        if let Poll::Ready(denial) = refused.as_mut().poll(cx) {
            return Poll::Ready(Err(Broken::Refused(denial)));
        }
        // Who drains waits for the end; the wait for it is theirs to limit.
        ticket.is_told(cx);
        let (up_before, down_before) = (up.bytes, down.bytes);
        let up_done = up.poll_all(cx, near, far).map_err(|fault| match fault {
            Fault::Source(error) => Broken::Near(error),
            Fault::Sink(error) => Broken::Far(error),
        });
        let down_done = down.poll_all(cx, far, near).map_err(|fault| match fault {
            Fault::Source(error) => Broken::Far(error),
            Fault::Sink(error) => Broken::Near(error),
        });
        let (went_up, went_down) = (up.bytes - up_before, down.bytes - down_before);
        if went_up + went_down > 0 {
            passed(went_up, went_down);
            wait(ticket, limits.idle, end);
        }
        match (up_done, down_done) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => {
                Poll::Ready(Err(broken))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ if ticket.is_late() => Poll::Ready(Err(match end {
                Some(end) if end <= Instant::now() => Broken::Aged,
                Some(_) | None => Broken::Idle,
            })),
            _ => Poll::Pending,
        }
    })
    .await;
    if ended.is_err() {
        near.reset_on_close();
        far.reset_on_close();
    }
    Carried {
        up: up.bytes,
        down: down.bytes,
        ended,
    }
}

/// Begins to wait for the next bytes.
fn wait(ticket: &Ticket, idle: Option<Duration>, end: Option<Instant>) {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let limit = match (idle, left) {
        (Some(idle), Some(left)) => Some(idle.min(left)),
        (limit, None) | (None, limit) => limit,
    };
    ticket.wait(limit);
}

// === impl Flow ===

impl Flow {
    fn new(buf: BytesMut) -> Self {
        Self {
            buf,
            ended: false,
            closed: false,
            bytes: 0,
        }
    }

    /// Carries what there is; ready once the end was carried, too.
    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> Poll<Result<(), Fault>> {
        loop {
            while !self.buf.is_empty() {
                let written = Pin::new(&mut *to).poll_write(cx, &self.buf);
                let written = ready!(written).map_err(Fault::Sink)?;
                if written == 0 {
                    let stuck = io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(Fault::Sink(stuck)));
                }
                self.buf.advance(written);
                self.bytes += written as u64;
            }
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Fault::Sink)?;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            // What TLS holds back goes out before the wait.
            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Sink)?;
            match from.poll_read_ready(cx) {
                // A silent connection holds no memory.
                Poll::Pending => {
                    self.buf = BytesMut::new();
                    return Poll::Pending;
                }
                Poll::Ready(ready) => ready.map_err(Fault::Source)?,
            }
            self.buf.reserve(COPY_BYTES);
            let read = poll_read_buf(Pin::new(&mut *from), cx, &mut self.buf);
            self.ended = ready!(read).map_err(Fault::Source)? == 0;
        }
    }
}

#[cfg(test)]
mod tests;
