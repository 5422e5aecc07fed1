//! Sockets that take connections: bound once on the control thread, one per worker, so that a
//! failure to bind is known before anything changes.

pub(crate) mod detect;
pub(crate) mod original_dst;
pub(crate) mod proxy_protocol;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::connection::connection;
use crate::io::Io;
pub use crate::listener::proxy_protocol::Balancers;
use crate::request::Downstream;
use crate::table::Bind;
use crate::worker::Worker;

/// Connections that wait to be accepted; the system may allow less.
const BACKLOG: i32 = 4_096;
/// Most open connections of one worker, so that a flood of idle ones is bounded in memory.
const CONNECTIONS_MAX: usize = 32_768;
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A bound socket on its way to a worker.
#[derive(Debug)]
pub enum Bound {
    /// TCP, shared by `SO_REUSEPORT`.
    Tcp(std::net::TcpListener),
    /// Unix; duplicates of one socket.
    Unix(std::os::unix::net::UnixListener),
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
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes connections until `closed` is ready, and then those that wait already: the system would
/// reset them together with the socket.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    bind: Bind,
    bound: Bound,
    closed: oneshot::Receiver<()>,
) {
    let result = match bound {
        Bound::Tcp(socket) => accept_tcp(&worker, &bind, socket, closed).await,
        Bound::Unix(socket) => accept_unix(&worker, &bind, socket, closed).await,
    };
    if let Err(error) = result {
        tracing::error!(%bind, %error, "listener cannot be used");
    }
}

async fn accept_tcp(
    worker: &Rc<Worker>,
    bind: &Bind,
    socket: std::net::TcpListener,
    mut closed: oneshot::Receiver<()>,
) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let serve = |tcp: TcpStream, peer: SocketAddr| {
        let local = worker.wants_local_addr().then(|| tcp.local_addr().ok());
        let downstream = Downstream::new(bind.clone(), Some(peer), local.flatten());
        serve(worker, Io::Tcp(tcp), downstream);
    };
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = socket.accept() => match accepted {
                Ok((tcp, peer)) => serve(tcp, peer),
                Err(error) => pause(bind, &error).await,
            },
        }
    }
    let socket = socket.into_std()?;
    while let Ok((tcp, peer)) = socket.accept() {
        tcp.set_nonblocking(true)?;
        serve(TcpStream::from_std(tcp)?, peer);
    }
    Ok(())
}

async fn accept_unix(
    worker: &Rc<Worker>,
    bind: &Bind,
    socket: std::os::unix::net::UnixListener,
    mut closed: oneshot::Receiver<()>,
) -> io::Result<()> {
    let socket = UnixListener::from_std(socket)?;
    let serve = |unix: UnixStream| {
        let downstream = Downstream::new(bind.clone(), None, None);
        serve(worker, Io::Unix(unix), downstream);
    };
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = socket.accept() => match accepted {
                Ok((unix, _)) => serve(unix),
                Err(error) => pause(bind, &error).await,
            },
        }
    }
    let socket = socket.into_std()?;
    while let Ok((unix, _)) = socket.accept() {
        unix.set_nonblocking(true)?;
        serve(UnixStream::from_std(unix)?);
    }
    Ok(())
}

/// Begins a connection, or closes it if the worker has as many as it may have.
fn serve(worker: &Rc<Worker>, io: Io, downstream: Downstream) {
    if worker.drain.open() >= CONNECTIONS_MAX {
        tracing::debug!(bind = %downstream.bind, "connection refused: too many are open");
        return;
    }
    let conn = connection(Rc::clone(worker), io, downstream);
    tokio::task::spawn_local(conn);
}

/// A failed accept must neither end the listener nor spin.
async fn pause(bind: &Bind, error: &io::Error) {
    tracing::debug!(%bind, %error, "accept failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tokio::io::{AsyncReadExt as _, duplex};

    use crate::snapshot::Publisher;
    use crate::telemetry::labels::Identity;
    use crate::telemetry::metrics::Metrics;
    use crate::upstream::connect::Connector;

    fn worker() -> Rc<Worker> {
        let metrics = Metrics::new(Identity::default(), 16);
        let publisher = Publisher::default();
        Rc::new(Worker::new(&publisher, &metrics, None, Connector::Network))
    }

    #[tokio::test(flavor = "local")]
    async fn connections_that_wait_when_a_listener_closes_are_served() {
        let worker = worker();
        let socket = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = socket.local_addr().expect("bound");
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut client = std::net::TcpStream::connect(addr).expect("a listener");
                client
                    .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                    .expect("a short request is taken");
                client
            })
            .collect();
        let (_, closed) = oneshot::channel();

        worker.drain.begin();
        let bound = Bound::Tcp(socket);
        accept(Rc::clone(&worker), Bind::Tcp(addr), bound, closed).await;

        for client in clients {
            client.set_nonblocking(true).expect("a socket");
            let mut client = TcpStream::from_std(client).expect("a socket");
            let mut answer = String::new();
            let read = client.read_to_string(&mut answer).await;
            read.expect("an answer and an orderly end");
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn more_connections_than_a_worker_may_have_are_closed() {
        let worker = worker();
        let bind = Bind::Tcp(([127, 0, 0, 1], 1).into());
        let open: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| worker.drain.enter(&bind))
            .collect();
        let (mut near, far) = duplex(16);

        let downstream = Downstream::new(bind, None, None);
        serve(&worker, Io::Memory(far), downstream);

        assert_eq!(near.read(&mut [0; 1]).await.expect("an orderly end"), 0);
        assert_eq!(worker.drain.open(), open.len());
    }

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
    fn a_port_that_another_listens_at_is_refused_even_if_it_can_be_shared() {
        let first = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = first.local_addr().expect("bound");

        let error = bind(&Bind::Tcp(addr), 2).expect_err("in use");

        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(bind(&Bind::Tcp(addr), 2).expect("free again").len(), 2);
    }
}
