//! In front of both services of gRPC: who is it, and which of them does he want.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::header::AUTHORIZATION;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use super::handler::{Handler, Request, Response};
use crate::identity::certificate::PeerCertificate;
use crate::identity::{Identifier, Refusal, Shown};
use crate::limit::{Limiter, Rate};

/// Path of the service of configuration.
const DISCOVERY: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
/// Path of the service of certificates.
const CERTIFICATES: &str = "/istio.v1.auth.IstioCertificateService/";
/// Limit of a request for a certificate with its body.
const CERTIFICATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a refusal is logged, so that strangers do not fill a disk; the counter has all.
const TOLD: Rate = Rate {
    burst: 50,
    every: Duration::from_secs(1),
};

/// Both services, and who may use them.
pub(crate) struct Front {
    /// Gives configuration.
    pub(crate) discovery: Handler,
    /// Signs certificates.
    pub(crate) certificates: Handler,
    /// Knows callers.
    pub(crate) identifier: Identifier,
    told: Limiter<()>,
}

/// Which port a connection came to, and what is known of it.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) secured: Secured,
    pub(crate) proved: Proved,
}

/// Whether a connection has TLS.
pub(crate) enum Secured {
    /// No: what a proxy says of itself counts, and there are no certificates.
    Plain,
    /// Yes, with the certificate that was shown, if one was.
    Tls(Option<PeerCertificate>),
}

/// Whether a connection has been of use to somebody who is known.
#[derive(Default)]
pub(crate) struct Proved {
    is: AtomicBool,
    came: Notify,
}

// === impl Front ===

impl Front {
    pub(crate) fn new(discovery: Handler, certificates: Handler, identifier: Identifier) -> Self {
        Self {
            discovery,
            certificates,
            identifier,
            told: Limiter::new(TOLD, 1),
        }
    }

    /// Answers a request of a connection.
    pub(crate) async fn answer(&self, peer: &Arc<Peer>, mut request: Request) -> Response {
        let path = request.uri().path();
        let is_discovery = path.starts_with(DISCOVERY);
        if !is_discovery && !path.starts_with(CERTIFICATES) {
            return Status::new(Code::Unimplemented, "").into_http();
        }
        if let Secured::Tls(certificate) = &peer.secured {
            let authorization = request.headers_mut().remove(AUTHORIZATION);
            let shown = Shown {
                certificate: certificate.as_ref(),
                authorization: authorization.as_ref().map(|value| value.as_bytes()),
                from: peer.addr.ip(),
            };
            match self.identifier.identify(shown, SystemTime::now()).await {
                Ok(caller) => request.extensions_mut().insert(caller),
                Err(refusal) => return self.refuse(peer, &refusal),
            };
        }
        peer.proved.prove();
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: peer.local,
            remote_addr: Some(peer.addr),
        });
        if is_discovery {
            return self.discovery.answer(request).await;
        }
        let signed = timeout(CERTIFICATE_TIMEOUT, self.certificates.answer(request));
        let late = |_| Status::new(Code::DeadlineExceeded, "").into_http();
        signed.await.unwrap_or_else(late)
    }

    /// Who is refused learns that he is, and whether to try again.
    fn refuse(&self, peer: &Peer, refusal: &Refusal) -> Response {
        if self.told.admit((), Instant::now()).is_ok() {
            tracing::warn!(target: "audit", peer = %peer.addr, %refusal, "caller refused");
        }
        let code = match refusal.is_ours() {
            true => Code::Unavailable,
            false => Code::Unauthenticated,
        };
        Status::new(code, "").into_http()
    }
}

// === impl Proved ===

impl Proved {
    pub(crate) fn prove(&self) {
        self.is.store(true, Ordering::Release);
        self.came.notify_one();
    }

    pub(crate) fn is(&self) -> bool {
        self.is.load(Ordering::Acquire)
    }

    /// Waits until it is. Only one may wait.
    pub(crate) async fn wait(&self) {
        while !self.is() {
            self.came.notified().await;
        }
    }
}
