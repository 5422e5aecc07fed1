//! Taking connections, one loop for each socket of a worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::{BACKLOG, Bound};
use crate::connection::connection;
use crate::drain::Load;
use crate::io::Io;
use crate::request::Downstream;
use crate::table::Direction;
use crate::worker::Worker;

/// Connections that are taken before others have their turn, so that a flood of them does not hold up
/// the requests of those that are open.
const ACCEPTS_PER_TURN: usize = 16;
/// Pause after an accept that failed for want of something that others may give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Cause of connections that are closed for want of a file descriptor.
pub(crate) const NO_DESCRIPTORS: &str = "no_file_descriptors";

/// A socket whose connections this runtime is told of.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes connections until `closed` is ready, and then those that wait already: the system would
/// reset them together with the socket.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    load: Arc<Load>,
    bound: Bound,
    closed: oneshot::Receiver<()>,
) {
    if let Err(error) = take(&worker, &load, bound, closed).await {
        tracing::error!(bind = %load.bind, %error, "listener cannot be used");
    }
}

async fn take(
    worker: &Rc<Worker>,
    load: &Load,
    bound: Bound,
    mut closed: oneshot::Receiver<()>,
) -> io::Result<()> {
    let socket = Socket::open(bound)?;
    let mut turn = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = socket.accept() => match accepted {
                Ok((io, peer)) => serve(worker, load, io, peer),
                Err(error) => recover(worker, load, &socket, &error).await,
            },
        }
        turn = (turn + 1) % ACCEPTS_PER_TURN;
        if turn == 0 {
            tokio::task::yield_now().await;
        }
    }
    let socket = socket.close()?;
    // No more than the queue had: another process may go on listening at the same socket.
    for _ in 0..=BACKLOG {
        match socket.accept() {
            Ok((io, peer)) => serve(worker, load, io, peer),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Begins a connection, or closes it if there are as many as there may be.
pub(super) fn serve(worker: &Rc<Worker>, load: &Load, io: Io, peer: Option<SocketAddr>) {
    let client = client(worker, load, peer).map(|peer| peer.ip());
    let place = match worker.places.enter(load.direction, client) {
        Ok(place) => place,
        Err(full) => return worker.turn_away(&load.bind, peer, full.cause()),
    };
    let local = match &io {
        Io::Tcp(tcp) if worker.wants_local_addr() => tcp.local_addr().ok(),
        Io::Tcp(_) | Io::Unix(_) | Io::Tls(_) | Io::Memory(_) => None,
    };
    let downstream = Downstream::new(load.bind.clone(), peer, local);
    let conn = connection(Rc::clone(worker), io, downstream);
    let task = tokio::task::spawn_local(conn);
    worker.drain.runs(task.abort_handle(), place);
}

/// Whose connection it is, as far as that can be told so early: who is behind a balancer, its header says.
fn client(worker: &Worker, load: &Load, peer: Option<SocketAddr>) -> Option<SocketAddr> {
    let balancers = worker.balancers.as_ref();
    let speaks_for_others = load.direction == Direction::Gateway
        && balancers.is_some_and(|balancers| balancers.trust(peer));
    peer.filter(|_| !speaks_for_others)
}

/// A failed accept must neither end the listener nor spin.
async fn recover(worker: &Worker, load: &Load, socket: &Socket, error: &io::Error) {
    tracing::debug!(bind = %load.bind, %error, "accept failed");
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        for _ in 0..ACCEPTS_PER_TURN {
            // Closed as soon as it is taken.
            let taken = worker
                .reserve
                .spend(|| rustix::net::accept(socket.as_fd()).is_ok());
            if taken != Some(true) {
                break;
            }
            worker.turn_away(&load.bind, None, NO_DESCRIPTORS);
        }
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

// === impl Socket ===

impl Socket {
    fn open(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Bound::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// The next connection.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost when the future is dropped.
    async fn accept(&self) -> io::Result<(Io, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (tcp, peer) = socket.accept().await?;
                Ok((Io::Tcp(tcp), Some(peer)))
            }
            Self::Unix(socket) => {
                let (unix, _) = socket.accept().await?;
                Ok((Io::Unix(unix), None))
            }
        }
    }

    /// The socket, without the runtime.
    fn close(self) -> io::Result<Bound> {
        Ok(match self {
            Self::Tcp(socket) => Bound::Tcp(socket.into_std()?),
            Self::Unix(socket) => Bound::Unix(socket.into_std()?),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

// === impl Bound ===

impl Bound {
    /// A connection that waits already.
    fn accept(&self) -> io::Result<(Io, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (tcp, peer) = socket.accept()?;
                tcp.set_nonblocking(true)?;
                Ok((Io::Tcp(TcpStream::from_std(tcp)?), Some(peer)))
            }
            Self::Unix(socket) => {
                let (unix, _) = socket.accept()?;
                unix.set_nonblocking(true)?;
                Ok((Io::Unix(UnixStream::from_std(unix)?), None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
