//! The byte stream between the socket and the HTTP library, which judges the peer's conduct.
//!
//! Where the peer goes too far, the library reads an error and gives up the connection with all its
//! requests; the stream itself is kept, so that the peer can be told why.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::conduct::{Conduct, Misconduct};
use super::watch::Watch;
use crate::io::Prefixed;

/// Frames after which a connection lets others have the thread. The library reads on for as long as
/// there is something, before it begins any request.
const FRAMES_PER_TURN: u32 = 512;

/// A connection's byte stream under guard.
pub(super) struct Guarded {
    /// None once it was taken from the library.
    io: Option<Prefixed>,
    conduct: Conduct,
    /// Seen when bytes were sent, and acted upon at the next read.
    misconduct: Option<Misconduct>,
    /// Frames of this turn.
    frames: u32,
    watch: Rc<Watch>,
}

/// What the library leaves behind when a connection ends.
pub(super) struct Remains {
    pub(super) io: Prefixed,
    /// Why it was taken from the library; none if it ended the connection by itself.
    pub(super) misconduct: Option<Misconduct>,
    /// The error code of the library's own GOAWAY.
    pub(super) farewell: Option<u32>,
    /// Whether a frame may follow what was sent.
    pub(super) can_send_frame: bool,
    pub(super) last_stream: u32,
}

// === impl Guarded ===

impl Guarded {
    pub(super) fn new(io: Prefixed, watch: Rc<Watch>) -> Self {
        Self {
            io: Some(io),
            conduct: Conduct::new(Instant::now()),
            misconduct: None,
            frames: 0,
            watch,
        }
    }

    /// Takes the stream from the library.
    fn seize(&mut self, misconduct: Option<Misconduct>) -> io::Error {
        if let Some(io) = self.io.take() {
            self.watch.leave(Remains {
                io,
                misconduct,
                farewell: self.conduct.farewell(),
                can_send_frame: self.conduct.can_send_frame(),
                last_stream: self.conduct.last_stream(),
            });
        }
        taken()
    }

    fn wrote(&mut self, slices: &[&[u8]], mut written: usize) {
        let now = Instant::now();
        for slice in slices {
            let part = written.min(slice.len());
            written -= part;
            if let Err(misconduct) = self.conduct.send(&slice[..part], now) {
                self.misconduct = Some(misconduct);
            }
        }
        self.watch.sent(self.conduct.data_bytes());
    }
}

fn taken() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(misconduct) = this.misconduct {
            return Poll::Ready(Err(this.seize(Some(misconduct))));
        }
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        if this.frames >= FRAMES_PER_TURN {
            this.frames = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(io).poll_read(cx, buf);
        if read.is_pending() {
            this.frames = 0;
        }
        ready!(read)?;
        match this
            .conduct
            .receive(&buf.filled()[before..], Instant::now())
        {
            Ok(frames) => {
                this.frames += frames;
                Poll::Ready(Ok(()))
            }
            Err(misconduct) => Poll::Ready(Err(this.seize(Some(misconduct)))),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        let written = Pin::new(io).poll_write(cx, data);
        this.watch.blocked(written.is_pending());
        if let Poll::Ready(Ok(written)) = written {
            this.wrote(&[data], written);
        }
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        let written = Pin::new(io).poll_write_vectored(cx, slices);
        this.watch.blocked(written.is_pending());
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let part = left.min(slice.len());
                left -= part;
                this.wrote(&[slice], part);
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(Prefixed::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Err(taken())),
        }
    }

    /// The library has said all that it wanted to say.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(io) = &mut this.io {
            ready!(Pin::new(io).poll_flush(cx))?;
            this.seize(None);
        }
        Poll::Ready(Ok(()))
    }
}
