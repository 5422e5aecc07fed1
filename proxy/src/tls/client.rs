//! TLS towards upstreams: what a connection must satisfy, and how it begins.
//!
//! A connection is never opened with less than was asked for. Where the means are missing, such as an
//! identity of our own, the endpoint's channel is shut and says why.

mod authorities;
mod fault;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use config::spiffe::SpiffeId;
use http::uri::Scheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::io::Io;
use crate::tls::identity::workload_of;
use crate::tls::mutual;
use crate::tls::verify::{ServerVerifier, Trust};
use authorities::HostVerifier;
pub(crate) use authorities::{Authorities, AuthorityError};
pub(crate) use fault::refusal;
pub use fault::{TlsError, TlsFault};

/// Servers whose sessions one destination remembers. It asks for one name only; the library keeps
/// eight tickets of it, each for one connection.
const REMEMBERED_SERVERS_MAX: usize = 1;
/// Offered where HTTP/1.1 is spoken to others than workloads.
const HTTP1_ALPN: &[&[u8]] = &[b"http/1.1"];
/// Offered where HTTP/2 is.
const HTTP2_ALPN: &[&[u8]] = &[b"h2"];
/// Offered to workloads where nothing is known of what will be spoken.
const OPAQUE_ALPN: &[&[u8]] = &[b"istio"];
/// What a workload may answer where HTTP/2 is needed: the second one leaves it to the first bytes.
const HTTP2_AGREED: &[&[u8]] = &[b"h2", b"istio", b"istio-h2"];

/// How an endpoint is spoken to below HTTP.
#[derive(Debug, Clone, Default)]
pub enum Channel {
    /// In plain text.
    #[default]
    Plain,
    /// In TLS.
    Tls(Arc<TlsClient>),
    /// Not at all: what was asked for cannot be done.
    Shut(Shut),
}

/// Why no connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// There are no secrets without a cluster.
    #[error("credentialName has no source")]
    Credential,
    /// The proxy runs without `--identity-dir`.
    #[error("ISTIO_MUTUAL needs an identity, and this proxy has none")]
    Identity,
    /// Neither the rule nor the host gives one.
    #[error("there is no name by which to verify the server")]
    Name,
    /// The name to ask for is none.
    #[error("sni is no name that a server can be asked for")]
    ServerName,
    /// The rule names no authorities, and the system has none.
    #[error("the system has no authorities to verify the server by")]
    Authorities,
    /// The files that the rule names were not read.
    #[error("the files of the rule were not read")]
    Files,
    /// The cryptography does not take its own certificate.
    #[error("TLS cannot be set up")]
    Unusable,
}

/// What will be spoken on a connection, which its handshake says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Http1,
    Http2,
    /// Whatever goes through a tunnel.
    Opaque,
}

/// How the connections of a destination are secured.
#[derive(Debug)]
pub struct TlsClient {
    /// Connections with the same number are as good as each other. Never reused.
    pub(crate) id: u64,
    pub(crate) terms: Terms,
    certified: Option<Arc<CertifiedKey>>,
    server_name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    opaque: Arc<ClientConfig>,
}

/// What connections must agree in to serve for each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// Who we say we are; a certificate that is renewed stays the same one.
    pub(crate) own: Own,
    /// The name that is asked for, if any.
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) belief: Belief,
}

/// Who we say we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    Nobody,
    /// Whoever the certificate in this file names.
    Named(Box<str>),
    Workload(SpiffeId),
}

/// Which servers are believed.
#[derive(Debug, Clone)]
pub(crate) enum Belief {
    /// Whoever answers: the rule asks for it.
    Anyone,
    /// Whoever has a certificate of an authority for one of the names.
    Host {
        authorities: Arc<Authorities>,
        names: Arc<[Box<str>]>,
    },
    /// Workloads of the mesh, of which one of these; empty where any will do.
    Workload {
        trust: Trust,
        expected: Arc<[Box<str>]>,
    },
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) io: Io,
    /// Whom the server proved to be, if that is a workload.
    pub(crate) peer: Option<SpiffeId>,
    /// Whether an earlier session goes on; none in plain text.
    pub(crate) resumed: Option<bool>,
}

/// Believes anyone. That the server has the key of its certificate is still checked: a handshake that
/// is broken for another reason does not go unnoticed.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

// === impl Channel ===

impl Channel {
    /// Connections through channels of the same number are as good as each other.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Plain => 0,
            Self::Tls(tls) => tls.id,
            Self::Shut(_) => u64::MAX,
        }
    }

    /// What HTTP/2 says of it. A workload learns from its proxy what the proxy said, and that mutual TLS
    /// lies between proxies is not for it: to the workload the request is one in plain text.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Tls(tls) if !tls.is_to_workload() => Scheme::HTTPS,
            Self::Plain | Self::Tls(_) | Self::Shut(_) => Scheme::HTTP,
        }
    }
}

// === impl TlsClient ===

impl TlsClient {
    /// Connections by these terms, with `certified` to prove who we are. `before` is what they were
    /// until now: if nothing changes it stays, and if only the certificate was renewed, its connections
    /// serve on.
    pub(crate) fn new<'b>(
        terms: Terms,
        certified: Option<&Arc<CertifiedKey>>,
        before: impl IntoIterator<Item = &'b Arc<Self>>,
    ) -> Result<Arc<Self>, Shut> {
        let before = before.into_iter().find(|it| it.terms == terms);
        let same = |a: &Arc<CertifiedKey>, b: &Arc<CertifiedKey>| a.cert == b.cert;
        let is_same = |before: &Self| match (&before.certified, certified) {
            (None, None) => true,
            (Some(before), Some(now)) => same(before, now),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if let Some(before) = before.filter(|it| is_same(it)) {
            return Ok(Arc::clone(before));
        }
        let id = before.map(|it| it.id);
        Self::make(terms, certified, id).map(Arc::new)
    }

    fn make(
        terms: Terms,
        certified: Option<&Arc<CertifiedKey>>,
        id: Option<u64>,
    ) -> Result<Self, Shut> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = terms.belief.verifier(&provider);
        let server_name = match &terms.server_name {
            Some(name) => ServerName::try_from(name.to_string()).map_err(|_| Shut::ServerName)?,
            // The library wants one; that of an address is not sent (RFC 6066 §3).
            None => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0]))),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(mutual::VERSIONS)
            .map_err(|_| Shut::Unusable)?
            .dangerous() // What the library calls any other rule than its own.
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match certified {
            Some(certified) => {
                let resolver = SingleCertAndKey::from(Arc::clone(certified));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        // Sessions belong to these terms alone.
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_SERVERS_MAX);
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            Arc::new(config)
        };
        let [http1, http2, opaque] = match &terms.belief {
            Belief::Workload { .. } => [mutual::HTTP1_ALPN, mutual::HTTP2_ALPN, OPAQUE_ALPN],
            Belief::Anyone | Belief::Host { .. } => [HTTP1_ALPN, HTTP2_ALPN, &[]],
        };
        Ok(Self {
            id: id.unwrap_or_else(|| NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            certified: certified.cloned(),
            server_name,
            verifier,
            http1: offering(http1),
            http2: offering(http2),
            opaque: offering(opaque),
            terms,
        })
    }

    fn is_to_workload(&self) -> bool {
        match self.terms.belief {
            Belief::Workload { .. } => true,
            Belief::Anyone | Belief::Host { .. } => false,
        }
    }

    /// Shakes hands over `io`, however long that takes.
    pub(crate) async fn secure(&self, io: Io, speech: Speech) -> Result<Secured, TlsError> {
        let config = match speech {
            Speech::Http1 => &self.http1,
            Speech::Http2 => &self.http2,
            Speech::Opaque => &self.opaque,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let connected = connector.connect(self.server_name.clone(), io).await;
        let stream = connected.map_err(TlsError::of)?;
        let (_, session) = stream.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed {
            self.verify_again(session)?;
        }
        let agreed = session.alpn_protocol();
        if speech == Speech::Http2 && !agreed.is_some_and(|it| HTTP2_AGREED.contains(&it)) {
            return Err(TlsError::NoHttp2);
        }
        let peer = match &self.terms.belief {
            Belief::Workload { .. } => leaf(session).and_then(|leaf| workload_of(leaf).ok()),
            Belief::Anyone | Belief::Host { .. } => None,
        };
        Ok(Secured {
            io: Io::Tls(Box::new(stream.into())),
            peer,
            resumed: Some(resumed),
        })
    }

    /// A session that goes on is that of a server that was believed once. Its certificate may have
    /// expired since, or been revoked.
    fn verify_again(&self, session: &ClientConnection) -> Result<(), TlsError> {
        let chain = session.peer_certificates().unwrap_or_default();
        let verified = match chain.split_first() {
            Some((leaf, chain)) => {
                let (name, now) = (&self.server_name, UnixTime::now());
                self.verifier
                    .verify_server_cert(leaf, chain, name, &[], now)
            }
            None => Err(Error::NoCertificatesPresented),
        };
        verified.map(|_| ()).map_err(TlsError::from)
    }
}

fn leaf(session: &ClientConnection) -> Option<&CertificateDer<'static>> {
    session.peer_certificates()?.first()
}

// === impl Belief ===

impl Belief {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
        match self {
            Self::Anyone => Arc::new(Anyone(Arc::clone(provider))),
            Self::Host { authorities, names } => {
                Arc::new(HostVerifier::new(authorities, names, provider))
            }
            Self::Workload { trust, expected } => {
                let expected = expected.iter().cloned();
                Arc::new(ServerVerifier::new(trust, expected, provider))
            }
        }
    }
}

impl PartialEq for Belief {
    /// Authorities that were read from files are the same object while their files say the same.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anyone, Self::Anyone) => true,
            (
                Self::Host { authorities, names },
                Self::Host {
                    authorities: other,
                    names: others,
                },
            ) => Arc::ptr_eq(authorities, other) && names == others,
            (
                Self::Workload { trust, expected },
                Self::Workload {
                    trust: other,
                    expected: others,
                },
            ) => {
                let same_roots = trust.roots.roots == other.roots.roots;
                same_roots && trust.domains == other.domains && expected == others
            }
            (Self::Anyone | Self::Host { .. } | Self::Workload { .. }, _) => false,
        }
    }
}

// === impl Own ===

impl fmt::Display for Own {
    /// The mode as rules name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "SIMPLE",
            Self::Named(_) => "MUTUAL",
            Self::Workload(_) => "ISTIO_MUTUAL",
        })
    }
}

// === impl Anyone ===

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
