//! Taking questions from sockets, and sending back what becomes of them.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::State;
use super::judge::{Fate, Forwarded, QUESTION_BYTES_MAX, Transport, failure, judge};
use super::learn::Learn;
use super::names::Names;
use super::peers::Peers;
use super::throttle::Throttle;
use super::upstream::{Upstream, framed};
use crate::telemetry::metrics::DnsCounters;

/// Connections at a time, for each address; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take for the next question, and for taking an answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a socket failed, which mostly means that files or memory are used up.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Ready once there are to be no more questions: when the other end is dropped.
pub(super) type Closed = watch::Receiver<()>;

/// What all sockets share.
pub(super) struct Server {
    pub(super) state: Arc<State>,
    pub(super) upstream: Upstream,
    /// Where it is asked what is not known; none without a control plane.
    pub(super) learn: Option<Learn>,
    pub(super) counters: DnsCounters,
    /// Counts answers, so that endpoints are the first in turn.
    pub(super) turn: Cell<usize>,
    /// For lines about who may not ask.
    pub(super) refusals: Throttle,
    /// For lines about what is no question.
    pub(super) oddities: Throttle,
    /// For lines about name servers.
    pub(super) failures: Throttle,
}

// === impl Server ===

impl Server {
    /// Answers datagrams until it is closed, and then what it has taken.
    pub(super) async fn serve_udp(
        self: Rc<Self>,
        socket: UdpSocket,
        listening: SocketAddr,
        mut closed: Closed,
    ) {
        let socket = Rc::new(socket);
        let peers = Peers::of(listening.ip());
        let mut asking = JoinSet::new();
        let mut packet = vec![0; QUESTION_BYTES_MAX + 1];
        loop {
            while asking.try_join_next().is_some() {}
            let received = tokio::select! {
                biased;
                _ = closed.changed() => break,
                received = socket.recv_from(&mut packet) => received,
            };
            let (length, peer) = match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "no question received");
                    sleep(FAILURE_PAUSE).await;
                    continue;
                }
            };
            let packet = &packet[..length];
            if !self.may_ask(&peers, Transport::Udp, peer) {
                continue;
            }
            match self.judge(packet, Transport::Udp, peer) {
                Fate::Ignored => {}
                // A client that gets no answer asks again.
                Fate::Refused(reply) | Fate::Answered(reply) => {
                    let _ = socket.send_to(&reply, peer).await;
                }
                Fate::Forwarded(forwarded) => {
                    let (server, socket) = (Rc::clone(&self), Rc::clone(&socket));
                    let packet = packet.to_vec();
                    asking.spawn_local(async move {
                        let question = (&packet[..], Transport::Udp, peer);
                        if let Some(reply) = server.resolve(question, forwarded).await {
                            let _ = socket.send_to(&reply, peer).await;
                        }
                    });
                }
            }
        }
        while asking.join_next().await.is_some() {}
    }

    /// Answers connections until it is closed, and then what it has taken.
    pub(super) async fn serve_tcp(
        self: Rc<Self>,
        listener: TcpListener,
        listening: SocketAddr,
        mut closed: Closed,
    ) {
        let peers = Peers::of(listening.ip());
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                biased;
                _ = closed.changed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((_, peer)) if !self.may_ask(&peers, Transport::Tcp, peer) => {}
                Ok((stream, peer)) => {
                    let server = Rc::clone(&self);
                    connections.spawn_local(async move {
                        if let Err(error) = server.connection(stream, peer).await {
                            tracing::debug!(%peer, %error, "connection for questions ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// Answers the questions of one connection, one after another.
    async fn connection(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        loop {
            let Some(packet) = timeout(CONNECTION_TIMEOUT, read(&mut stream)).await?? else {
                return Ok(());
            };
            let reply = match self.judge(&packet, Transport::Tcp, peer) {
                Fate::Ignored => return Ok(()),
                Fate::Refused(reply) | Fate::Answered(reply) => Some(reply),
                Fate::Forwarded(forwarded) => {
                    let question = (&packet[..], Transport::Tcp, peer);
                    self.resolve(question, forwarded).await
                }
            };
            let Some(reply) = reply else {
                return Ok(());
            };
            timeout(CONNECTION_TIMEOUT, stream.write_all(&framed(&reply))).await??;
        }
    }

    /// Whether a peer may ask, and is not ourselves.
    fn may_ask(&self, peers: &Peers, transport: Transport, peer: SocketAddr) -> bool {
        let reason = if !peers.admit(peer) {
            "not of this host"
        } else if self.upstream.sent(transport, peer) {
            "our own question came back; the proxy's user must not be captured"
        } else {
            return true;
        };
        self.counters.refused.inc();
        if let Some(left_out) = self.refusals.admit(Instant::now()) {
            tracing::warn!(%peer, reason, left_out, "question refused");
        }
        false
    }

    fn judge(&self, packet: &[u8], transport: Transport, peer: SocketAddr) -> Fate {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let judged = || {
            self.state.names.read(|names| match names {
                Some(names) => judge(packet, names, transport, turn),
                None => judge(packet, &Names::default(), transport, turn),
            })
        };
        // A bug that one packet finds must not cost the workload all its names.
        let fate = catch_unwind(AssertUnwindSafe(judged)).unwrap_or(Fate::Ignored);
        match &fate {
            Fate::Answered(_) => self.counters.mesh.inc(),
            Fate::Forwarded(_) => {}
            Fate::Ignored | Fate::Refused(_) => {
                self.counters.refused.inc();
                if let Some(left_out) = self.oddities.admit(Instant::now()) {
                    let bytes = packet.len();
                    tracing::debug!(%peer, bytes, left_out, "not a question that can be answered");
                }
            }
        }
        fate
    }

    /// What becomes of a question whose name is not known: the mesh may have it all the same.
    async fn resolve(
        &self,
        (packet, transport, peer): (&[u8], Transport, SocketAddr),
        forwarded: Forwarded,
    ) -> Option<Vec<u8>> {
        if let Some(learn) = &self.learn
            && !forwarded.known
            && learn.learn(packet).await
        {
            return match self.judge(packet, transport, peer) {
                Fate::Ignored => None,
                Fate::Refused(reply) | Fate::Answered(reply) => Some(reply),
                Fate::Forwarded(forwarded) => self.forward(packet, transport, forwarded).await,
            };
        }
        self.forward(packet, transport, forwarded).await
    }

    /// What name servers answer, else that nobody can.
    async fn forward(
        &self,
        packet: &[u8],
        transport: Transport,
        forwarded: Forwarded,
    ) -> Option<Vec<u8>> {
        match self.upstream.ask(packet, transport, forwarded).await {
            Ok(reply) => {
                self.counters.upstream.inc();
                Some(reply)
            }
            Err(error) => {
                self.counters.failed(error.cause());
                if let Some(left_out) = self.failures.admit(Instant::now()) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, left_out, "name servers do not answer");
                }
                failure(packet)
            }
        }
    }
}

/// The next question of a connection; none at its end.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}
