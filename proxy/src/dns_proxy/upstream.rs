//! Asking others: a socket of its own for each question, so that the system chooses the port, and an id
//! by chance. Whoever wants to forge an answer has to guess both, and the question.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout};

use super::judge::{Forwarded, Transport};
use super::servers::Servers;
use super::wire;

/// Questions that are under way at the same time; each has a socket.
const ASKED_MAX: usize = 512;
/// How long one server may take.
const TRY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long all of it may take: clients ask again after five seconds.
const ASK_TIMEOUT: Duration = Duration::from_millis(4_800);
/// How often each server is asked, as datagrams get lost.
const ROUNDS_MAX: usize = 2;

/// Asks name servers.
#[derive(Debug)]
pub(super) struct Upstream {
    servers: Servers,
    asked: Cell<usize>,
    /// Ports that questions are under way from.
    ports: RefCell<FxHashSet<(Transport, u16)>>,
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{ASKED_MAX} questions are under way")]
    Full,
    #[error("there is no name server to ask")]
    NoServer,
    #[error("no answer within {ASK_TIMEOUT:?}")]
    Timeout,
    #[error("ask {server}")]
    Server {
        server: SocketAddr,
        source: io::Error,
    },
}

/// A place among the questions that are under way; free again when dropped.
struct Place<'u>(&'u Upstream);

/// A port that a question is under way from, until dropped.
struct Port<'u>(&'u Upstream, (Transport, u16));

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(servers: Servers) -> Self {
        Self {
            servers,
            asked: Cell::default(),
            ports: RefCell::default(),
        }
    }

    /// Whether a packet is one of our own questions, which some rule of capture leads back to us.
    pub(super) fn sent(&self, transport: Transport, peer: SocketAddr) -> bool {
        self.ports.borrow().contains(&(transport, peer.port()))
    }

    /// What name servers answer to a question: as they sent it, but for the id.
    ///
    /// The first that has an answer counts. One that says that it cannot tell counts if no other does
    /// better.
    pub(super) async fn ask(
        &self,
        question: &[u8],
        transport: Transport,
        forwarded: Forwarded,
    ) -> Result<Vec<u8>, Failure> {
        let _place = self.place().ok_or(Failure::Full)?;
        let asking = self.ask_all(question, transport, usize::from(forwarded.bytes_max));
        let mut reply = timeout(ASK_TIMEOUT, asking)
            .await
            .unwrap_or(Err(Failure::Timeout))?;
        if let Some(id) = wire::id(question) {
            wire::set_id(&mut reply, id);
        }
        if forwarded.known {
            wire::forgive_unknown_name(&mut reply);
        }
        Ok(reply)
    }

    async fn ask_all(
        &self,
        question: &[u8],
        transport: Transport,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Failure> {
        let mut failed = Err(Failure::NoServer);
        for _ in 0..ROUNDS_MAX {
            for (number, server) in self.servers.in_order(Instant::now()) {
                let asking = self.ask_one(server, question, transport, bytes_max);
                let asking = timeout(TRY_TIMEOUT, asking).await;
                match asking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(reply) if !wire::is_failure(&reply) => {
                        self.servers.prefer(number);
                        return Ok(reply);
                    }
                    Ok(reply) => failed = Ok(reply),
                    Err(source) if failed.is_err() => {
                        failed = Err(Failure::Server { server, source });
                    }
                    Err(_) => {}
                }
            }
            if failed.is_ok() {
                break;
            }
        }
        failed
    }

    async fn ask_one(
        &self,
        server: SocketAddr,
        question: &[u8],
        transport: Transport,
        bytes_max: usize,
    ) -> io::Result<Vec<u8>> {
        let mut question = question.to_vec();
        wire::set_id(&mut question, fastrand::u16(..).to_be_bytes());
        match transport {
            Transport::Udp => self.by_udp(server, &question, bytes_max).await,
            Transport::Tcp => self.by_tcp(server, &question).await,
        }
    }

    async fn by_udp(
        &self,
        server: SocketAddr,
        question: &[u8],
        bytes_max: usize,
    ) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((any(server), 0)).await?;
        let _port = self.port(Transport::Udp, socket.local_addr()?);
        socket.connect(server).await?;
        socket.send(question).await?;
        // One byte more shows what is too long.
        let mut reply = vec![0; bytes_max + 1];
        loop {
            let length = socket.recv(&mut reply).await?;
            if wire::answers(&reply[..length], question) {
                reply.truncate(length);
                return Ok(match length <= bytes_max {
                    true => reply,
                    false => wire::cut(&reply),
                });
            }
            tracing::debug!(%server, length, "not the answer to what was asked");
        }
    }

    async fn by_tcp(&self, server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        let socket = match server {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.bind((any(server), 0).into())?;
        let _port = self.port(Transport::Tcp, socket.local_addr()?);
        let mut stream = socket.connect(server).await?;
        stream.write_all(&framed(question)).await?;
        let length = stream.read_u16().await?;
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await?;
        match wire::answers(&reply, question) {
            true => Ok(reply),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn place(&self) -> Option<Place<'_>> {
        let asked = self.asked.get();
        (asked < ASKED_MAX).then(|| {
            self.asked.set(asked + 1);
            Place(self)
        })
    }

    fn port(&self, transport: Transport, local: SocketAddr) -> Port<'_> {
        let key = (transport, local.port());
        self.ports.borrow_mut().insert(key);
        Port(self, key)
    }
}

/// A message as connections carry it: behind its length (RFC 1035 §4.2.2).
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Any address of the family of another.
fn any(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

// === impl Failure ===

impl Failure {
    /// As metrics name it.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NoServer => "no_server",
            Self::Timeout => "timeout",
            Self::Server { source, .. } if source.kind() == io::ErrorKind::TimedOut => "timeout",
            Self::Server { .. } => "unreachable",
        }
    }
}

// === impl Place ===

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.asked.set(self.0.asked.get() - 1);
    }
}

// === impl Port ===

impl Drop for Port<'_> {
    fn drop(&mut self) {
        self.0.ports.borrow_mut().remove(&self.1);
    }
}
