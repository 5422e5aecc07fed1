//! Ports for listeners that another process will open.
//!
//! The configuration names every port before the process that listens on it starts. A port
//! that was merely seen free may be gone by then, so it stays bound here, without listening,
//! with the socket options under which the proxy can still open it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// A loopback address that nobody but a process we start will get.
#[derive(Debug)]
pub(crate) struct Reservation {
    addr: SocketAddr,
    /// Holds the port; never listens.
    _socket: TcpSocket,
}

impl Reservation {
    /// Reserves any free port.
    ///
    /// # Errors
    ///
    /// When no socket can be made or no port is left.
    pub(crate) fn any() -> io::Result<Self> {
        Self::bind(0)
    }

    /// Reserves `port`.
    ///
    /// # Errors
    ///
    /// When another program listens there, or may not be bound at all.
    pub(crate) fn of(port: u16) -> io::Result<Self> {
        // A reservation alone could be made beside a listener that shares its port, such as
        // another proxy; a listener of our own without sharing finds that out.
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        Self::bind(port)
    }

    /// The reserved address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self {
            addr: socket.local_addr()?,
            _socket: socket,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_can_be_opened_and_is_not_given_away() {
        let reserved = Reservation::any().unwrap();

        for _ in 0..200 {
            let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            assert_ne!(other.local_addr().unwrap(), reserved.addr());
        }
        let listener = TcpListener::bind(reserved.addr());

        assert!(listener.is_ok(), "{listener:?}");
    }

    #[test]
    fn a_port_that_is_listened_on_cannot_be_reserved() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();

        let reserved = Reservation::of(taken.local_addr().unwrap().port());

        assert_eq!(
            reserved.map(|it| it.addr()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
