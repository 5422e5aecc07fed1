//! Sockets that take connections: bound once on the control thread, one per worker, so that a
//! failure to bind is known before anything changes.

mod accept;
pub(crate) mod detect;
pub(crate) mod original_dst;
pub mod places;
pub(crate) mod proxy_protocol;
pub(crate) mod reserve;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

pub use crate::listener::proxy_protocol::Balancers;
use crate::table::Bind;
pub(crate) use accept::{NO_DESCRIPTORS, accept};

/// Connections that wait to be accepted; the system may allow less.
const BACKLOG: i32 = 4_096;

/// Most bytes that the system keeps of a connection and has not sent yet (`TCP_NOTSENT_LOWAT`). Without a
/// bound it is up to four megabytes for each peer that does not read, and some hundred of those are all the
/// memory that the system has for TCP. What is on its way is not counted. Large answers over loopback cost as
/// much CPU as without, a tenth more with half of it, a third to three quarters more with an eighth.
pub(crate) const UNSENT_BYTES_MAX: u32 = 1024 * 1024;

/// A bound socket on its way to a worker.
#[derive(Debug)]
pub enum Bound {
    /// TCP, shared by `SO_REUSEPORT`.
    Tcp(std::net::TcpListener),
    /// Unix; duplicates of one socket.
    Unix(std::os::unix::net::UnixListener),
}

// === impl Bound ===

impl Bound {
    /// Another hold on the same socket.
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }

    /// The same as a bare descriptor.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

/// Binds `bind` once for each of `workers`.
///
/// # Errors
///
/// The first that the system reports; sockets bound before it are closed again.
pub fn bind(bind: &Bind, workers: usize) -> io::Result<Vec<Bound>> {
    match bind {
        Bind::Tcp(addr) => {
            let addr = within_reach(*addr);
            refuse_sharing(addr)?;
            let sockets = (0..workers).map(|_| Ok(Bound::Tcp(bind_tcp(addr)?)));
            sockets.collect()
        }
        Bind::Unix(path) => {
            remove_stale(path)?;
            let socket = std::os::unix::net::UnixListener::bind(path)?;
            socket.set_nonblocking(true)?;
            (0..workers)
                .map(|_| Ok(Bound::Unix(socket.try_clone()?)))
                .collect()
        }
    }
}

/// Takes over sockets that another process bound to `bind`.
///
/// # Errors
///
/// When the system refuses.
pub fn adopt(bind: &Bind, sockets: Vec<OwnedFd>) -> io::Result<Vec<Bound>> {
    let adopted = sockets.into_iter().map(|socket| match bind {
        Bind::Tcp(_) => {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            Ok(Bound::Tcp(socket))
        }
        Bind::Unix(_) => {
            let socket = std::os::unix::net::UnixListener::from(socket);
            socket.set_nonblocking(true)?;
            Ok(Bound::Unix(socket))
        }
    });
    adopted.collect()
}

/// Shares sockets among workers, as many as there may be of either: every socket has somebody who looks
/// into its queue, and every worker some socket.
///
/// # Errors
///
/// When there are no more file descriptors.
pub fn share(sockets: Vec<Bound>, workers: usize) -> io::Result<Vec<Vec<Bound>>> {
    let count = sockets.len();
    let beyond = (count..workers).filter_map(|worker| sockets.get(worker % count.max(1)));
    let more: io::Result<Vec<Bound>> = beyond.map(Bound::try_clone).collect();
    let mut shares: Vec<Vec<Bound>> = (0..workers).map(|_| Vec::new()).collect();
    let all = sockets.into_iter().chain(more?);
    for (number, socket) in all.enumerate() {
        shares[number % workers.max(1)].push(socket);
    }
    Ok(shares)
}

/// Removes the socket that a proxy which is gone left at `path`, and nothing else: a file that was
/// named by mistake stays, and the bind fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Fails if another process listens at `addr`, which sockets that share the port would hide: two
/// proxies started by mistake would each get a part of the traffic.
fn refuse_sharing(addr: SocketAddr) -> io::Result<()> {
    tcp_socket(addr)?.bind(&addr.into())
}

/// `[::]` takes connections of both families. Where the system has no IPv6 the other one is all there is.
fn within_reach(addr: SocketAddr) -> SocketAddr {
    let has_ipv6 = || Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok();
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && !has_ipv6() => {
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), v6.port())
        }
        addr => addr,
    }
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn bind_tcp(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = tcp_socket(addr)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit both.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("socket");
        let at = Bind::Unix(path.clone());

        std::fs::write(&path, "mine").expect("a file");
        bind(&at, 1).expect_err("no socket");
        assert_eq!(std::fs::read(&path).expect("still there"), b"mine");

        std::fs::remove_file(&path).expect("removed");
        let first = bind(&at, 1).expect("a new socket");
        bind(&at, 1).expect_err("in use");
        drop(first);
        bind(&at, 1).expect("a stale socket is replaced");
    }

    #[test]
    fn what_is_accepted_keeps_little_that_is_not_sent() {
        let listener = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        listener.set_nonblocking(false).expect("a socket");
        let addr = listener.local_addr().expect("bound");

        let _client = std::net::TcpStream::connect(addr).expect("connected");
        let (accepted, _) = listener.accept().expect("accepted");

        let socket = socket2::SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("an option"));
        let unsent = socket.tcp_notsent_lowat().expect("an option");
        assert_eq!(unsent, UNSENT_BYTES_MAX);
    }

    #[test]
    fn a_port_that_another_listens_at_is_refused_even_if_it_can_be_shared() {
        let first = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = first.local_addr().expect("bound");

        let error = bind(&Bind::Tcp(addr), 2).expect_err("in use");

        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(bind(&Bind::Tcp(addr), 2).expect("free again").len(), 2);
    }

    #[test]
    fn every_socket_and_every_worker_has_a_share() {
        let any = Bind::Tcp(([127, 0, 0, 1], 0).into());
        let sockets = |count| (0..count).flat_map(|_| bind(&any, 1).expect("a free port"));
        for (count, workers, expected) in [
            (2, 2, vec![1, 1]),
            (3, 2, vec![2, 1]),
            (1, 3, vec![1, 1, 1]),
            (4, 1, vec![4]),
        ] {
            let shares = share(sockets(count).collect(), workers).expect("shared");

            let counts: Vec<usize> = shares.iter().map(Vec::len).collect();
            assert_eq!(counts, expected, "{count} sockets, {workers} workers");
        }
    }

    #[test]
    fn an_adopted_socket_has_the_queue_of_the_one_before() {
        let first = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = first.local_addr().expect("bound");
        let _waiting = std::net::TcpStream::connect(addr).expect("a listener");
        let bound = Bound::Tcp(first);
        let left = bound.duplicate().expect("a duplicate");
        drop(bound);

        let adopted = adopt(&Bind::Tcp(addr), vec![left]).expect("adopted");

        let Some(Bound::Tcp(socket)) = adopted.first() else {
            panic!("no socket")
        };
        socket.accept().expect("the connection waits on");
    }
}
