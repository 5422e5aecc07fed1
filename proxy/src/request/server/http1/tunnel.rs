//! A connection that switched protocols (RFC 9110 §7.8) or was connected through (§9.3.6): bytes
//! both ways, until both sides have ended.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::Response;
use tokio::io::AsyncWrite as _;
use tokio_util::io::poll_read_buf;

use super::wire::Wire;
use crate::io::Io;
use crate::request::record::Recorded;
use crate::upstream::http1::Switched;

/// Room for one read of either side.
const COPY_BYTES: usize = 16 * 1024;
/// How long a tunnel may be silent in both directions; Istio's default for idle TCP connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A tunnel that is about to begin.
pub(super) struct Tunnel {
    upstream: Box<Switched>,
    recorded: Recorded,
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

// === impl Tunnel ===

impl Tunnel {
    /// The tunnel that `response` opens; none if it opens none.
    pub(super) fn new(response: Response<Recorded>) -> Option<Self> {
        let mut recorded = response.into_body();
        let upstream = recorded.take_tunnel()?;
        Some(Self { upstream, recorded })
    }

    /// Carries bytes until both sides have ended, one has failed, or both are silent for too long.
    pub(super) async fn run(self, wire: Rc<Wire>) {
        let Self {
            upstream,
            mut recorded,
        } = self;
        let Some(wire) = Rc::into_inner(wire) else {
            return;
        };
        let (mut near, input, mut ticket) = wire.into_parts();
        let (mut far, output, _open) = upstream.into_parts();
        let (mut up, mut down) = (Flow::new(input), Flow::new(output));
        ticket.wait(Some(IDLE_TIMEOUT));
        let carried = poll_fn(|cx| {
            ticket.is_told(cx);
            let before = up.bytes + down.bytes;
            let up_done = up.poll_carry(cx, &mut near, &mut far)?;
            let down_done = down.poll_carry(cx, &mut far, &mut near)?;
            if up.bytes + down.bytes != before {
                ticket.wait(Some(IDLE_TIMEOUT));
            }
            match (up_done, down_done) {
                (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(io::Result::Ok(())),
                _ if ticket.is_late() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                _ => Poll::Pending,
            }
        });
        let ended = carried.await;
        if let Err(error) = &ended {
            tracing::debug!(%error, "tunnel broke off");
            // An orderly end would tell the other side that it has heard everything.
            near.reset_on_close();
            far.reset_on_close();
        }
        recorded.tunnelled(up.bytes, down.bytes);
    }
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
    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> io::Result<Poll<()>> {
        match self.poll_all(cx, from, to) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.buf.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buf))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buf.advance(written);
                self.bytes += written as u64;
            }
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            // What TLS holds back goes out before the wait.
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            // A silent tunnel holds no memory.
            if ready_or_release(from.poll_read_ready(cx), &mut self.buf)? {
                self.buf.reserve(COPY_BYTES);
                let read = ready!(poll_read_buf(Pin::new(&mut *from), cx, &mut self.buf))?;
                self.ended = read == 0;
            } else {
                return Poll::Pending;
            }
        }
    }
}

fn ready_or_release(ready: Poll<io::Result<()>>, buf: &mut BytesMut) -> io::Result<bool> {
    match ready {
        Poll::Ready(ready) => ready.map(|()| true),
        Poll::Pending => {
            *buf = BytesMut::new();
            Ok(false)
        }
    }
}
