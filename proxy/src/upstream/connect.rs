//! Opening connections to endpoints.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntGauge;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::io::Io;
use crate::listener::UNSENT_BYTES_MAX;
use crate::listener::original_dst::{OWN_V4, OWN_V6};
use crate::telemetry::metrics::Proved;
use crate::tls::client::{Channel, Secured, Shut, Speech, TlsError, TlsFault, refusal};
use crate::upstream::breaker::Place;
use crate::upstream::endpoint::EndpointAddr;

type Opening = Pin<Box<dyn Future<Output = io::Result<Io>>>>;
type Opener = dyn Fn(&EndpointAddr) -> Opening;

/// How connections are opened: by the network, or by a test.
#[derive(Clone, Default)]
pub enum Connector {
    /// Sockets.
    #[default]
    Network,
    /// Any other function: the one seam through which tests and benchmarks reach the data path.
    Custom(Rc<Opener>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system said no.
    #[error("connect")]
    Io(#[source] io::Error),
    /// Another request's connect, for which this one waited, failed.
    #[error("connect: the connection that was being opened failed")]
    Shared(ConnectFault),
    /// What was asked for cannot be done, and less is not done.
    #[error("not opened: {0}")]
    Shut(Shut),
    /// The connection could not be secured.
    #[error("secure the connection")]
    Tls(#[source] TlsError),
    /// The other side does not speak HTTP/2, or ended the connection before it did.
    #[error("begin HTTP/2")]
    Handshake(#[source] Option<hyper::Error>),
    /// No answer in time.
    #[error("connect: no answer within {0:?}")]
    Timeout(Duration),
}

/// Why there is no connection, as far as anybody reacts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFault {
    /// Nobody listens.
    Refused,
    /// There is no way to the address.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// There was no common protocol.
    Handshake,
    /// The connection could not be secured.
    Tls(TlsFault),
    /// What was asked for cannot be done.
    Shut,
    /// Anything else, such as a limit of our own system.
    Other,
}

/// A connection that was opened.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) io: Io,
    /// Counts it.
    pub(crate) open: Open,
    /// Whom the other side proved to be, if that is a workload.
    pub(crate) peer: Option<Rc<Proved>>,
}

/// A connection that is wanted.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) addr: &'a EndpointAddr,
    pub(crate) channel: &'a Channel,
    /// What will be spoken on it.
    pub(crate) speech: Speech,
    /// Time for all of it.
    pub(crate) limit: Duration,
    /// Of the system, while it is silent.
    pub(crate) probes: Option<&'a TcpKeepalive>,
    /// Whether it comes from an address that says that it is the proxy's own.
    pub(crate) from_own: bool,
    /// What goes before everything else, TLS too.
    pub(crate) header: Option<&'a [u8]>,
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub struct Open {
    gauge: IntGauge,
    /// Its place among those of its destination.
    _place: Option<Place>,
}

// === impl ConnectFault ===

impl ConnectFault {
    /// Whether the same endpoint would fail in the same way again.
    pub(crate) fn is_lasting(self) -> bool {
        match self {
            Self::Shut => true,
            Self::Tls(fault) => fault.is_lasting(),
            Self::Refused | Self::Unreachable | Self::TimedOut | Self::Handshake | Self::Other => {
                false
            }
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// What kind of failure it is.
    pub fn fault(&self) -> ConnectFault {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown => ConnectFault::Unreachable,
                io::ErrorKind::TimedOut => ConnectFault::TimedOut,
                _ => ConnectFault::Other,
            },
            Self::Shared(fault) => *fault,
            Self::Shut(_) => ConnectFault::Shut,
            Self::Tls(error) => ConnectFault::Tls(error.fault()),
            Self::Handshake(Some(error)) if refusal(error).is_some() => {
                ConnectFault::Tls(TlsFault::Refused)
            }
            Self::Handshake(_) => ConnectFault::Handshake,
            Self::Timeout(_) => ConnectFault::TimedOut,
        }
    }

    /// Whether the fault is on this side: a limit of our own system, which says nothing about the
    /// endpoint. What one is not told the kind of is judged by whoever met it.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Io(error) => matches!(
                error.raw_os_error(),
                Some(
                    libc::EMFILE
                        | libc::ENFILE
                        | libc::ENOBUFS
                        | libc::ENOMEM
                        | libc::EADDRNOTAVAIL
                        | libc::EADDRINUSE
                        | libc::EACCES
                        | libc::EPERM
                )
            ),
            Self::Shut(_) | Self::Shared(ConnectFault::Other | ConnectFault::Shut) => true,
            Self::Tls(_) | Self::Shared(_) | Self::Handshake(_) | Self::Timeout(_) => false,
        }
    }
}

// === impl Open ===

impl Open {
    /// Counts one more open connection in `gauge`, and in `place` among those of its destination.
    pub(crate) fn new(gauge: &IntGauge, place: Option<Place>) -> Self {
        gauge.inc();
        Self {
            gauge: gauge.clone(),
            _place: place,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

// === impl Connector ===

impl Connector {
    /// Opens a connection and secures it as it should be.
    pub(crate) async fn reach(&self, wanted: Wanted<'_>) -> Result<Secured, ConnectError> {
        match self {
            Self::Network => reach(wanted).await,
            Self::Custom(open) => reach_by(open(wanted.addr), &wanted).await,
        }
    }
}

/// Opens a connection by the network and secures it as it should be.
pub(crate) async fn reach(wanted: Wanted<'_>) -> Result<Secured, ConnectError> {
    reach_by(open(wanted.addr, wanted.from_own), &wanted).await
}

async fn reach_by(
    opening: impl Future<Output = io::Result<Io>>,
    wanted: &Wanted<'_>,
) -> Result<Secured, ConnectError> {
    let tls = match wanted.channel {
        Channel::Plain => None,
        Channel::Tls(tls) => Some(tls),
        Channel::Shut(why) => return Err(ConnectError::Shut(*why)),
    };
    let limit = wanted.limit;
    let end = Instant::now() + limit;
    let late = |_| ConnectError::Timeout(limit);
    let io = timeout_at(end, opening).await.map_err(late)?;
    let mut io = io.map_err(ConnectError::Io)?;
    if let (Some(probes), Io::Tcp(tcp)) = (wanted.probes, &io) {
        let socket = SockRef::from(tcp);
        socket.set_tcp_keepalive(probes).map_err(ConnectError::Io)?;
    }
    if let Some(header) = wanted.header {
        let written = timeout_at(end, io.write_all(header)).await;
        written.map_err(late)?.map_err(ConnectError::Io)?;
    }
    let Some(tls) = tls else {
        return Ok(Secured {
            io,
            peer: None,
            resumed: None,
        });
    };
    // In a box: a handshake is large, and most connections have none.
    let secured = timeout_at(end, Box::pin(tls.secure(io, wanted.speech))).await;
    secured.map_err(late)?.map_err(ConnectError::Tls)
}

/// Opens a connection by the network, however long that takes.
async fn open(addr: &EndpointAddr, from_own: bool) -> io::Result<Io> {
    match addr {
        EndpointAddr::Tcp(addr) => {
            let tcp = match from_own {
                true => own_socket(*addr)?.connect(*addr).await?,
                false => TcpStream::connect(addr).await?,
            };
            tcp.set_nodelay(true)?;
            SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
            Ok(Io::Tcp(tcp))
        }
        EndpointAddr::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
    }
}

/// A socket of our own address, by which rules that capture traffic know what they must leave alone. Without
/// it a connection to an address of the host would be captured again and lead back here: where the host
/// does not have it (`::6` has to be given to the loopback interface) only loopback can be reached.
fn own_socket(to: SocketAddr) -> io::Result<TcpSocket> {
    let (socket, own) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(OWN_V4)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(OWN_V6)),
    };
    // Connections that ended lately keep no port from those to other addresses.
    socket.set_reuseaddr(true)?;
    match socket.bind(SocketAddr::new(own, 0)) {
        Err(error) if to.ip().is_loopback() => {
            tracing::debug!(%own, %error, "connecting from another address");
        }
        bound => bound?,
    }
    Ok(socket)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "Network",
            Self::Custom(_) => "Custom",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv4Addr;

    #[test]
    fn a_limit_of_our_own_system_is_not_the_endpoints_fault() {
        let of = |code| ConnectError::Io(io::Error::from_raw_os_error(code));

        for ours in [libc::EMFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS] {
            assert!(of(ours).is_ours());
        }
        for theirs in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENOENT] {
            assert!(!of(theirs).is_ours());
        }
        assert!(ConnectError::Shared(ConnectFault::Other).is_ours());
        assert!(!ConnectError::Shared(ConnectFault::Refused).is_ours());
        assert!(!ConnectError::Timeout(Duration::from_secs(1)).is_ours());
    }

    #[tokio::test]
    async fn what_goes_on_to_the_workload_comes_from_an_address_of_our_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = EndpointAddr::Tcp(listener.local_addr().expect("a bound socket"));

        for (from_own, ip) in [(true, OWN_V4), (false, Ipv4Addr::LOCALHOST)] {
            open(&addr, from_own).await.expect("a connection");

            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip(), ip);
        }
    }

    #[tokio::test]
    async fn probes_are_on_only_where_they_are_asked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = EndpointAddr::Tcp(listener.local_addr().expect("a bound socket"));
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(7))
            .with_interval(Duration::from_secs(3))
            .with_retries(2);
        let limit = Duration::from_secs(10);

        for (probes, on) in [(None, false), (Some(&probes), true)] {
            let wanted = Wanted {
                addr: &addr,
                channel: &Channel::Plain,
                speech: Speech::Http1,
                limit,
                probes,
                from_own: false,
                header: None,
            };
            let reached = Connector::Network.reach(wanted).await;
            let Ok(Secured {
                io: Io::Tcp(tcp), ..
            }) = reached
            else {
                panic!("no connection: {reached:?}");
            };
            let socket = SockRef::from(&tcp);

            assert_eq!(socket.keepalive().expect("an option"), on);
            if on {
                let time = socket.tcp_keepalive_time().expect("an option");
                assert_eq!(time, Duration::from_secs(7));
                assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 2);
            }
        }
    }
}
