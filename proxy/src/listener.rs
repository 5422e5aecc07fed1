//! Sockets that take connections: bound once on the control thread, one per worker, so that a
//! failure to bind is known before anything changes.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::io::Io;
use crate::request::{Downstream, server};
use crate::table::Bind;
use crate::worker::Worker;

/// Connections that wait to be accepted; the system may allow less.
const BACKLOG: i32 = 4_096;
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
            refuse_sharing(*addr)?;
            let sockets = (0..workers).map(|_| Ok(Bound::Tcp(bind_tcp(*addr)?)));
            sockets.collect()
        }
        Bind::Unix(path) => {
            if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            let socket = std::os::unix::net::UnixListener::bind(path)?;
            socket.set_nonblocking(true)?;
            (0..workers)
                .map(|_| Ok(Bound::Unix(socket.try_clone()?)))
                .collect()
        }
    }
}

/// Fails if another process listens at `addr`, which sockets that share the port would hide: two
/// proxies started by mistake would each get a part of the traffic.
fn refuse_sharing(addr: SocketAddr) -> io::Result<()> {
    tcp_socket(addr)?.bind(&addr.into())
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

/// Takes connections until the task is dropped.
pub(crate) async fn accept(worker: Rc<Worker>, bind: Bind, bound: Bound) {
    let result = match bound {
        Bound::Tcp(socket) => match TcpListener::from_std(socket) {
            Ok(socket) => return accept_tcp(worker, bind, socket).await,
            Err(error) => Err(error),
        },
        Bound::Unix(socket) => match UnixListener::from_std(socket) {
            Ok(socket) => return accept_unix(worker, bind, socket).await,
            Err(error) => Err(error),
        },
    };
    if let Err::<(), _>(error) = result {
        tracing::error!(%bind, %error, "listener cannot be used");
    }
}

async fn accept_tcp(worker: Rc<Worker>, bind: Bind, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                let local = worker
                    .wants_local_addr()
                    .then(|| tcp.local_addr().ok())
                    .flatten();
                let downstream = Downstream::new(bind.clone(), Some(peer), local);
                let conn = server::connection(Rc::clone(&worker), Io::Tcp(tcp), downstream);
                tokio::task::spawn_local(conn);
            }
            Err(error) => pause(&bind, &error).await,
        }
    }
}

async fn accept_unix(worker: Rc<Worker>, bind: Bind, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((unix, _)) => {
                let downstream = Downstream::new(bind.clone(), None, None);
                let conn = server::connection(Rc::clone(&worker), Io::Unix(unix), downstream);
                tokio::task::spawn_local(conn);
            }
            Err(error) => pause(&bind, &error).await,
        }
    }
}

/// A failed accept must neither end the listener nor spin.
async fn pause(bind: &Bind, error: &io::Error) {
    tracing::debug!(%bind, %error, "accept failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

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
