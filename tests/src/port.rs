//! Ports for listeners that are written in YAML and so need a number.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// A port of the loopback that nobody else is given while this value lives.
///
/// Its socket is bound but does not listen. The proxy binds with `SO_REUSEPORT`, as this does, and so
/// may join; the system gives the port to nobody who asks for any free one. Releasing the port before
/// the proxy starts would let another test's proxy take it, and `SO_REUSEPORT` would hide the clash.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: Socket,
}

// === impl Port ===

impl Port {
    /// A free port.
    ///
    /// # Panics
    ///
    /// If the system has none.
    pub fn reserve() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.expect("a socket can be made");
        // The proxy first binds without sharing, which only a socket that does not listen allows.
        socket
            .set_reuse_address(true)
            .expect("addresses can be shared");
        socket.set_reuse_port(true).expect("ports can be shared");
        socket.bind(&any.into()).expect("a port is free");
        let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        Self {
            number: addr.expect("a bound socket has an address").port(),
            _held: socket,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The address to connect to.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}
