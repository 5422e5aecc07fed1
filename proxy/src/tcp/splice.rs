//! Bytes from socket to socket within the system: they pass a pipe and are never copied to us.
//!
//! A pipe is lent to a direction only while bytes flow through it, so that connections which rest
//! hold none, and comes back empty or not at all: what one connection left in it must never reach
//! another.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::io::Interest;

use crate::io::Socket;

/// Room in a pipe, as far as the system grants it, and most that one call moves. Over loopback a
/// gibibyte costs 0.34 to 0.42 s of CPU with it, 0.44 to 0.63 s with a quarter of it, and 0.64 to
/// 0.77 s with the system's own 64 KiB. It is also the largest that is granted without privileges.
const PIPE_BYTES: usize = 1024 * 1024;
/// A pipe with less room is not worth its calls. The system makes such ones for users who have many.
const PIPE_BYTES_MIN: usize = 64 * 1024;
/// Pipes that a worker lends at once: the bound of what slow readers keep in them. Whoever finds none
/// copies.
const LENT_MAX: usize = 32;
/// Pipes that a worker keeps for the next ones.
const KEPT_MAX: usize = 8;

/// The pipes of one worker.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    kept: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe for one direction of a connection.
#[derive(Debug)]
pub(super) struct Lent<'p> {
    pipes: &'p Pipes,
    /// Present until it is given back.
    pipe: Option<Pipe>,
    /// Bytes in it.
    held: usize,
}

// === impl Pipes ===

impl Pipes {
    /// An empty pipe, unless too many are lent or the system gives none.
    pub(super) fn lend(&self) -> Option<Lent<'_>> {
        if self.lent.get() >= LENT_MAX {
            return None;
        }
        let kept = self.kept.borrow_mut().pop();
        let pipe = kept.or_else(|| Pipe::open().ok().flatten())?;
        self.lent.set(self.lent.get() + 1);
        Some(Lent {
            pipes: self,
            pipe: Some(pipe),
            held: 0,
        })
    }

    /// Pipes that are lent.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Pipes that are kept for the next ones.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.kept.borrow().len()
    }
}

// === impl Pipe ===

impl Pipe {
    /// A pipe; none if the system grants too little room.
    fn open() -> io::Result<Option<Self>> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let room = match fcntl_setpipe_size(&write, PIPE_BYTES) {
            Ok(_) => PIPE_BYTES,
            Err(_) => fcntl_getpipe_size(&write)?,
        };
        Ok((room >= PIPE_BYTES_MIN).then_some(Self { read, write }))
    }
}

// === impl Lent ===

impl Lent<'_> {
    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes in what a socket has; 0 at its end. The pipe must be empty: only then a call that would
    /// block speaks of the socket.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: Socket<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "filled before it was drained");
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                let moved = splice(from, None, &pipe.write, None, PIPE_BYTES, flags);
                moved.map_err(io::Error::from)
            });
            match moved {
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held = moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Hands on as much of it as a socket takes, and says how much.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: Socket<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                let moved = splice(&pipe.read, None, to, None, self.held, flags);
                moved.map_err(io::Error::from)
            });
            match moved {
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => {
                    self.held -= moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }
}

/// Whether the same call is to be made again, once the socket is ready.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        let Some(pipe) = self.pipe.take() else { return };
        let mut kept = self.pipes.kept.borrow_mut();
        if self.held == 0 && kept.len() < KEPT_MAX {
            kept.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests;
