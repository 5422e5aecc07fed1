//! One direction of a connection.
//!
//! It begins by copying, which is best for questions and answers: one call to read and one to write. A
//! read that brings much means that more is to come, and what comes is spliced where both sides are
//! sockets, until little comes again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{Broken, Carrier};
use crate::io::Io;
use crate::tcp::splice::Lent;

/// Bytes of one read from which on more is expected, and splicing is worth its calls.
const BULK_BYTES: usize = 16 * 1024;
/// Bytes after which others have their turn: some hundred microseconds of work.
const TURN_BYTES: u64 = 1024 * 1024;

/// One direction.
pub(super) struct Flow<'c> {
    carrier: &'c Carrier,
    /// Bytes that were copied and not taken yet.
    held: BytesMut,
    /// Where those are that were spliced; present while they flow.
    pipe: Option<Lent<'c>>,
    /// Whether much comes at a time.
    bulk: bool,
    /// The side that is read has ended.
    ended: bool,
    /// So has the side that is written.
    closed: bool,
    /// Bytes that were handed on.
    pub(super) bytes: u64,
}

/// Which side of a flow failed.
pub(super) enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

// === impl Flow ===

impl<'c> Flow<'c> {
    /// A direction of which `held` was read before.
    pub(super) fn new(carrier: &'c Carrier, held: BytesMut) -> Self {
        Self {
            carrier,
            held,
            pipe: None,
            bulk: false,
            ended: false,
            closed: false,
            bytes: 0,
        }
    }

    /// Whether it waits for its source, and hears of a reset by itself.
    pub(super) fn listens(&self) -> bool {
        let holds = self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0);
        !self.ended && !holds && self.held.is_empty()
    }

    /// Carries what there is; ready once the end was carried, too.
    pub(super) fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> Poll<Result<(), Fault>> {
        let turn_ends = self.bytes + TURN_BYTES;
        loop {
            ready!(self.poll_hand_on(cx, to)).map_err(Fault::Sink)?;
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
            if self.bytes >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let spliced = match self.bulk {
                true => ready!(self.poll_splice(cx, from, to)).map_err(Fault::Source)?,
                false => false,
            };
            if !spliced {
                ready!(self.poll_copy(cx, from, to))?;
            }
        }
    }

    /// Hands on what is held.
    fn poll_hand_on(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(poll_write(cx, to, &self.held))?;
            self.held.advance(written);
            self.bytes += written as u64;
            if self.held.is_empty() {
                // A silent connection holds no memory.
                self.held = BytesMut::new();
            }
        }
        if let (Some(pipe), Some(socket)) = (&mut self.pipe, to.socket()) {
            while pipe.held() > 0 {
                self.bytes += ready!(pipe.poll_drain(cx, socket))? as u64;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in what there is within the system; false if that cannot be done.
    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &Io, to: &Io) -> Poll<io::Result<bool>> {
        let (Some(source), Some(_)) = (from.socket(), to.socket()) else {
            return Poll::Ready(Ok(false));
        };
        let pipe = self.pipe.take().or_else(|| self.carrier.pipes.lend());
        let Some(mut pipe) = pipe else {
            return Poll::Ready(Ok(false));
        };
        // Without a byte to wait for, the pipe goes back.
        match ready!(pipe.poll_fill(cx, source)) {
            Ok(moved) => {
                self.ended = moved == 0;
                self.bulk = moved >= BULK_BYTES;
                self.pipe = (moved > 0).then_some(pipe);
                Poll::Ready(Ok(true))
            }
            // Not with this kind of socket.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads what there is and writes as much of it as is taken.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
    ) -> Poll<Result<(), Fault>> {
        self.pipe = None;
        let mut scratch = self.carrier.scratch.borrow_mut();
        let mut read = ReadBuf::new(&mut scratch);
        ready!(Pin::new(from).poll_read(cx, &mut read)).map_err(Fault::Source)?;
        let mut rest = read.filled();
        self.ended = rest.is_empty();
        self.bulk = rest.len() >= BULK_BYTES;
        while !rest.is_empty() {
            let Poll::Ready(written) = poll_write(cx, to, rest) else {
                self.held.extend_from_slice(rest);
                break;
            };
            let written = written.map_err(Fault::Sink)?;
            self.bytes += written as u64;
            rest = &rest[written..];
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_write(cx: &mut Context<'_>, to: &mut Io, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}

// === impl Fault ===

impl Fault {
    /// From the near side to the far one.
    pub(super) fn upwards(self) -> Broken {
        match self {
            Self::Source(error) => Broken::Near(error),
            Self::Sink(error) => Broken::Far(error),
        }
    }

    /// From the far side to the near one.
    pub(super) fn downwards(self) -> Broken {
        match self {
            Self::Source(error) => Broken::Far(error),
            Self::Sink(error) => Broken::Near(error),
        }
    }
}
