//! One port: takes connections, has each prove of what use it is, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::{IntCounterVec, IntGauge};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::front::{Front, Peer, Proved, Secured};
use super::places::{Place, Places};
use super::stop::Stop;
use crate::identity::certificate::PeerCertificate;

/// Limit of the handshake and the first request of somebody who is known. A connection without takes a
/// place from one that is of use.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections last, give or take a tenth: then a proxy proves anew who it is, and may find
/// another replica that has less to do. It goes on with what it has.
const AGE_MAX: Duration = Duration::from_secs(3_600);
/// How long what is under way may go on when a connection is to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a connection may be silent before it is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to say so: a proxy whose machine is gone gives its place back within a minute.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one connection: a proxy has one stream, and asks for certificates.
const STREAMS_MAX: u32 = 32;
/// Most bytes of the headers of a request, the token among them.
const HEADER_BYTES_MAX: u32 = 32 * 1024;
/// How long is waited when no connection can be taken, as without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is listened at.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// By which connections are secured; they are not where there is none.
    pub(crate) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    pub(crate) trust_domain: Arc<str>,
    pub(crate) front: Arc<Front>,
    pub(crate) places: Arc<Places>,
    pub(crate) meters: Meters,
}

/// What is counted of connections.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) open: IntGauge,
    pub(crate) refused: IntCounterVec,
}

/// What each connection of a port needs.
struct Shared {
    trust_domain: Arc<str>,
    front: Arc<Front>,
    meters: Meters,
    stop: Stop,
}

// === impl Port ===

impl Port {
    /// Takes connections until it is time to stop, then waits for those that there are.
    pub(crate) async fn serve(self, mut stop: Stop) {
        let shared = Arc::new(Shared {
            trust_domain: self.trust_domain,
            front: self.front,
            meters: self.meters,
            stop: stop.clone(),
        });
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.drain() => break,
            };
            let (stream, addr) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(addr.ip()) else {
                shared.meters.refuse("too_many");
                continue;
            };
            let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
            connections.spawn(Arc::clone(&shared).connection(stream, addr, tls, place));
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

// === impl Shared ===

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        addr: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        _place: Place,
    ) {
        let _open = scoped(self.meters.open.clone());
        let local = stream.local_addr().ok();
        // What is sent is small and waited for.
        let _ = stream.set_nodelay(true);
        let until = Instant::now() + PROOF_TIMEOUT;
        let peer = |secured| Peer {
            addr,
            local,
            secured,
            proved: Proved::default(),
        };
        match tls {
            None => self.speak(stream, peer(Secured::Plain), until).await,
            Some(config) => {
                let handshake = TlsAcceptor::from(config).accept(stream);
                let stream = match timeout_at(until, handshake).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %addr, %error, "no handshake");
                        return self.meters.refuse("handshake");
                    }
                    Err(_) => return self.meters.refuse("timeout"),
                };
                let shown = stream.get_ref().1.peer_certificates();
                let leaf = shown.and_then(<[_]>::first);
                // The verifier has read it before.
                let certificate =
                    leaf.and_then(|leaf| PeerCertificate::read(leaf, &self.trust_domain).ok());
                let secured = Secured::Tls(certificate);
                Box::pin(self.speak(stream, peer(secured), until)).await;
            }
        }
    }

    /// Answers the requests of a connection until it ends, or is to.
    async fn speak<S>(&self, stream: S, peer: Peer, until: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ends = Instant::now() + lifetime(&peer, SystemTime::now(), fastrand::f64());
        let peer = Arc::new(peer);
        let service = service_fn(|request| {
            let (front, peer) = (Arc::clone(&self.front), Arc::clone(&peer));
            async move { Ok::<_, std::convert::Infallible>(front.answer(&peer, request).await) }
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = pin!(serving);
        let mut stop = self.stop.clone();
        tokio::select! {
            ended = serving.as_mut() => return debug(&peer, ended),
            () = unproved(&peer.proved, until) => return self.meters.refuse("timeout"),
            () = sleep_until(ends) => {}
            () = stop.drain() => {}
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            ended = serving => debug(&peer, ended),
            () = sleep(LAST_WORDS) => {}
        }
    }
}

// === impl Meters ===

impl Meters {
    fn refuse(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

/// Ends when the time is over in which a connection has to be of use; never if it was in time.
async fn unproved(proved: &Proved, until: Instant) {
    if timeout_at(until, proved.wait()).await.is_ok() {
        std::future::pending().await
    }
}

/// How long a connection lasts: not longer than the certificate that it was made with.
fn lifetime(peer: &Peer, now: SystemTime, chance: f64) -> Duration {
    let age = AGE_MAX.mul_f64(0.9 + 0.2 * chance);
    match &peer.secured {
        Secured::Plain | Secured::Tls(None) => age,
        Secured::Tls(Some(certificate)) => {
            let left = certificate.not_after.duration_since(now);
            age.min(left.unwrap_or_default())
        }
    }
}

/// Counts one in, and out again when dropped.
fn scoped(gauge: IntGauge) -> impl Drop {
    struct Scoped(IntGauge);
    impl Drop for Scoped {
        fn drop(&mut self) {
            self.0.dec();
        }
    }
    gauge.inc();
    Scoped(gauge)
}

fn debug(peer: &Peer, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.addr, %error, "connection ended");
    }
}

/// Listens at an address.
pub(crate) async fn listen(addr: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound: io::Result<TcpListener> = TcpListener::bind(addr).await;
    bound.map_err(|error| anyhow::anyhow!("listen at {addr} (--{flag}): {error}"))
}

#[cfg(test)]
mod tests {
    use config::spiffe::SpiffeId;

    use super::*;

    #[test]
    fn a_connection_ends_with_its_certificate_at_the_latest() {
        let now = SystemTime::now();
        let peer = |secured| Peer {
            addr: ([127, 0, 0, 1], 1).into(),
            local: None,
            secured,
            proved: Proved::default(),
        };
        let certificate = |left| PeerCertificate {
            id: SpiffeId::workload("td", "a", "b").expect("an identity"),
            not_after: now + left,
        };
        let of = |left| lifetime(&peer(Secured::Tls(Some(certificate(left)))), now, 0.5);

        let minute = Duration::from_secs(60);
        assert_eq!(of(minute), minute);
        assert_eq!(of(AGE_MAX * 24), AGE_MAX);
        assert_eq!(
            lifetime(&peer(Secured::Tls(None)), now, 0.0),
            AGE_MAX.mul_f64(0.9)
        );
        assert_eq!(
            lifetime(&peer(Secured::Plain), now, 1.0),
            AGE_MAX.mul_f64(1.1)
        );
    }
}
