//! Connections with the application, beside everything that captures connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::Failure;
use crate::io::Io;
use crate::listener::original_dst::{OWN_V4, OWN_V6};

/// The application beside us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Application {
    /// The pod's address, by which kubelet knows the application.
    pub(super) own: IpAddr,
}

// === impl Application ===

impl Application {
    /// A connection with a port: on loopback, else at the pod's address where the application listens
    /// there alone.
    pub(super) async fn connect(&self, port: u16) -> Result<Io, Failure> {
        let own = self.own.to_canonical();
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let own = Some(own).filter(|own| !own.is_loopback() && !own.is_unspecified());
        let mut failed: Option<io::Error> = None;
        for ip in loopback.into_iter().chain(own) {
            match connect(SocketAddr::new(ip, port)).await {
                Ok(tcp) => return Ok(Io::Tcp(tcp)),
                // What the first says is what people look for: a host may have no IPv6 at all.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let source = failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        Err(Failure::Connect { port, source })
    }

    /// The host by which kubelet asks for it.
    pub(super) fn host(&self) -> String {
        match self.own.to_canonical() {
            IpAddr::V4(own) => own.to_string(),
            IpAddr::V6(own) => format!("[{own}]"),
        }
    }

    /// The host with a port.
    pub(super) fn authority(&self, port: u16) -> String {
        format!("{}:{port}", self.host())
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if !addr.ip().is_loopback() {
        let own: IpAddr = match addr.is_ipv4() {
            true => OWN_V4.into(),
            false => OWN_V6.into(),
        };
        // Without it the connection may be captured, and then fail.
        let _ = socket.bind((own, 0).into());
    }
    let tcp = socket.connect(addr).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
