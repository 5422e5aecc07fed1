//! Opening connections to endpoints.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::io::Io;
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
    Shared,
    /// No answer in time.
    #[error("connect: no answer within {0:?}")]
    Timeout(Duration),
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub struct Open(IntGauge);

// === impl Open ===

impl Open {
    /// Counts one more open connection in `gauge`.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Connector ===

impl Connector {
    /// Opens a connection within `limit`.
    pub async fn connect(&self, addr: &EndpointAddr, limit: Duration) -> Result<Io, ConnectError> {
        let opening = async {
            match self {
                Self::Network => open(addr).await,
                Self::Custom(open) => open(addr).await,
            }
        };
        match timeout(limit, opening).await {
            Ok(opened) => opened.map_err(ConnectError::Io),
            Err(_) => Err(ConnectError::Timeout(limit)),
        }
    }
}

async fn open(addr: &EndpointAddr) -> io::Result<Io> {
    match addr {
        EndpointAddr::Tcp(addr) => {
            let tcp = TcpStream::connect(addr).await?;
            tcp.set_nodelay(true)?;
            Ok(Io::Tcp(tcp))
        }
        EndpointAddr::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "Network",
            Self::Custom(_) => "Custom",
        })
    }
}
