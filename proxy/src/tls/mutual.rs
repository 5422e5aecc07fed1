//! Mutual TLS between workloads: what both sides of it are made of.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, GetRandomFailed, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::ticketer::TicketRotator;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig, SupportedProtocolVersion};

use crate::tls::verify::{ClientVerifier, Trust};

/// Versions between workloads. Older ones are not spoken (RFC 8996).
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What a server agrees to speak (RFC 7301), the first that a client offers too. Proxies of Istio
/// mark with names of their own that they speak to a proxy. The list is generous because a client
/// none of whose offers is known is refused.
pub(crate) const SERVER_ALPN: &[&[u8]] = &[
    b"istio-h2",
    b"h2",
    b"istio-http/1.1",
    b"http/1.1",
    b"istio-http/1.0",
    b"http/1.0",
    b"istio",
    b"istio-peer-exchange",
];
/// What a client offers that will speak HTTP/1.1.
pub(crate) const HTTP1_ALPN: &[&[u8]] = &[b"istio-http/1.1", b"istio", b"http/1.1"];
/// What a client offers that will speak HTTP/2.
pub(crate) const HTTP2_ALPN: &[&[u8]] = &[b"istio-h2", b"istio", b"h2"];

/// Keys of tickets are used for this long, in seconds, and known for as long again: nobody goes on
/// with a session that is more than an hour old without proving anew who he is.
const TICKET_KEY_SECONDS: u32 = 30 * 60;

/// Whether what was agreed upon is HTTP/2. `istio` says nothing, nor does `istio-peer-exchange`: the
/// first bytes tell.
pub(crate) fn is_http2(protocol: &[u8]) -> bool {
    matches!(protocol, b"h2" | b"istio-h2")
}

/// Whether what was agreed upon is HTTP/1.
pub(crate) fn is_http1(protocol: &[u8]) -> bool {
    matches!(
        protocol,
        b"http/1.1" | b"http/1.0" | b"istio-http/1.1" | b"istio-http/1.0"
    )
}

/// How a workload lets others in: each must prove who it is.
///
/// Sessions may go on with tickets whose keys belong to what is returned alone, so that whoever was
/// believed for an authority that is no longer has to prove himself again.
///
/// # Errors
///
/// When the parts do not fit, as without any authority.
pub(crate) fn server(
    certified: &Arc<CertifiedKey>,
    trust: &Trust,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, Error> {
    let provider = provider();
    let clients = ClientVerifier::new(trust, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(own_certificate(certified));
    config.alpn_protocols = owned(SERVER_ALPN);
    config.ticketer = tickets()?;
    // Tickets do, and cost neither memory nor a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(super) fn own_certificate(certified: &Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(Arc::clone(certified)))
}

pub(super) fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|it| it.to_vec()).collect()
}

/// Makes tickets, with keys that are replaced as time passes.
///
/// # Errors
///
/// When the system has no randomness.
pub(crate) fn tickets() -> Result<Arc<dyn ProducesTickets>, Error> {
    let rotator = TicketRotator::new(TICKET_KEY_SECONDS, keys)?;
    Ok(Arc::new(rotator))
}

/// Keys for tickets. That the library would replace them by itself, after hours, is of no account:
/// they are gone by then.
fn keys() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    match aws_lc_rs::Ticketer::new() {
        Ok(keys) => Ok(Box::new(Keys(keys))),
        Err(_) => Err(GetRandomFailed),
    }
}

/// Keys for tickets as something that can be owned.
#[derive(Debug)]
struct Keys(Arc<dyn ProducesTickets>);

// === impl Keys ===

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        TICKET_KEY_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}
