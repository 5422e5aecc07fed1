//! The PROXY protocol: what a load balancer says of its caller before anything else.
//!
//! A header is asked for from the peers that are trusted to send one, and from nobody else: whoever
//! could write one without being trusted could be anyone. And it is never optional, as a trusted
//! balancer that leaves it out would make all of its callers look like itself.
//!
//! No byte after the header is read, so that whatever comes next finds its connection as new.

mod header;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use config::ip_block::IpBlock;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::io::Io;
use crate::request::Downstream;
use crate::table::Direction;
use crate::worker::Worker;
use header::{Addresses, Fault, LINE_BYTES_MAX, Next, next};

/// Time for the header: balancers write it before anything else, and in one piece.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers that begin their connections to gateways with a header.
#[derive(Debug, Clone)]
pub struct Balancers(Box<[IpBlock]>);

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// It is none, or wrong.
    #[error("{0}")]
    Wrong(Fault),
    /// The peer ended the connection before its header was complete.
    #[error("the connection ended before the header did")]
    Short,
    /// It took too long.
    #[error("no header in time")]
    Late,
    /// The connection failed.
    #[error("read the header")]
    Io(#[source] io::Error),
}

// === impl Balancers ===

impl Balancers {
    /// Those in these networks; none if there are no networks.
    pub fn new(networks: &[IpBlock]) -> Option<Self> {
        (!networks.is_empty()).then(|| Self(networks.into()))
    }

    /// Whether a peer is one of them.
    pub(super) fn trust(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| self.0.iter().any(|it| it.contains(peer.ip())))
    }
}

/// Reads the header of a connection from a balancer to a gateway: from then on its caller is whom the
/// header names. Says whether the connection may go on.
pub(crate) async fn meet(
    balancers: &Balancers,
    worker: &Worker,
    io: &mut Io,
    downstream: &mut Downstream,
) -> bool {
    if !balancers.trust(downstream.peer) || !comes_to_gateway(worker, downstream) {
        return true;
    }
    let read = timeout(HEADER_TIMEOUT, read(io)).await;
    match read.unwrap_or(Err(HeaderError::Late)) {
        Ok(Some(Addresses {
            source,
            destination,
        })) => {
            let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
            downstream.peer = Some(canonical(source));
            downstream.local = Some(canonical(destination));
            true
        }
        // The balancer speaks for itself.
        Ok(None) => true,
        Err(error) => {
            worker.refuse_header(downstream, &error);
            false
        }
    }
}

fn comes_to_gateway(worker: &Worker, downstream: &Downstream) -> bool {
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener(&downstream.bind);
    listener.is_some_and(|listener| listener.direction == Direction::Gateway)
}

/// Reads a header, and not a byte more; none if it names no addresses.
async fn read(io: &mut Io) -> Result<Option<Addresses>, HeaderError> {
    let mut header = BytesMut::new();
    loop {
        let (most, within_line) = match next(&header).map_err(HeaderError::Wrong)? {
            Next::Bytes(most) => (most, false),
            Next::Line(most) => (most, true),
            Next::Done(addresses) => return Ok(addresses),
        };
        let most = match within_line {
            true => of_line(io, most).await.map_err(HeaderError::Io)?,
            false => most,
        };
        let mut limited = io.take(most as u64);
        let read = limited.read_buf(&mut header).await;
        if read.map_err(HeaderError::Io)? == 0 {
            return Err(HeaderError::Short);
        }
    }
}

/// How many of the next `most` bytes belong to the line that is being read, as far as they are there.
async fn of_line(io: &Io, most: usize) -> io::Result<usize> {
    let mut bytes = [0; LINE_BYTES_MAX];
    let peeked = match io {
        Io::Tcp(tcp) => tcp.peek(&mut bytes[..most]).await?,
        // Nothing shows what comes without taking it.
        Io::Unix(_) | Io::Tls(_) | Io::Memory(_) => return Ok(1),
    };
    let end = memchr::memchr(b'\n', &bytes[..peeked]);
    // The end of the stream is for the read to find.
    Ok(end.map_or(peeked, |end| end + 1).max(1))
}

// === impl HeaderError ===

impl HeaderError {
    /// The cause in one word, for the counter.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Wrong(Fault::Missing) => "proxy_protocol_missing",
            Self::Wrong(_) => "proxy_protocol_malformed",
            Self::Short | Self::Io(_) => "proxy_protocol_incomplete",
            Self::Late => "proxy_protocol_timeout",
        }
    }
}

#[cfg(test)]
mod tests;
