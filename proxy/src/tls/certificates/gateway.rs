//! How gateways terminate TLS: what their servers say, and the files that they name.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::resource::gateway::{Server, ServerTls, ServerTlsMode, TlsProtocol};
use config::{Finding, Severity};
use config::{Resource, Spec};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::tls::pem;

/// Protocols offered to clients in the order in which we prefer them (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How TLS is terminated, by what a server says of it.
#[derive(Debug, Default)]
pub(super) struct Servers {
    configs: BTreeMap<Terms, Arc<ServerConfig>>,
}

/// What a server says of its TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    certificate: String,
    key: String,
    versions: Versions,
}

/// The versions of TLS that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Versions {
    Only12,
    Only13,
    Both,
}

/// Why TLS cannot be terminated, at a field of `tls`.
type Refusal = (&'static str, String);

// === impl Servers ===

impl Servers {
    /// Reads the files of `gateways`; what is found wrong belongs to the fields that name them.
    pub(super) fn load<'g>(
        gateways: impl IntoIterator<Item = &'g Arc<Resource>>,
    ) -> (Self, Vec<(Arc<Resource>, Finding)>) {
        let mut servers = Self::default();
        let mut findings = Vec::new();
        for gateway in gateways {
            let Spec::Gateway(spec) = &gateway.spec else {
                continue;
            };
            for (position, server) in spec.servers.iter().enumerate() {
                let Some((severity, (field, message))) = servers.add(server) else {
                    continue;
                };
                let finding = Finding {
                    severity,
                    path: format!("spec.servers[{position}].{field}"),
                    message,
                };
                findings.push((Arc::clone(gateway), finding));
            }
        }
        (servers, findings)
    }

    /// How `server` terminates TLS; none if it does not, or not yet.
    pub(super) fn config(&self, server: &Server) -> Option<&Arc<ServerConfig>> {
        let terms = terms(server)?.ok()?;
        self.configs.get(&terms)
    }

    fn add(&mut self, server: &Server) -> Option<(Severity, Refusal)> {
        if !is_https(server) {
            return None;
        }
        let terms = match terms(server) {
            Some(Ok(terms)) => terms,
            Some(Err(refusal)) => return Some((Severity::Error, refusal)),
            // Modes and fields that are not served are said by the table of what has no effect.
            None if server.tls.as_ref().is_some_and(|tls| tls.mode.is_some()) => return None,
            None => {
                let message = "has no effect yet: HTTPS is served in mode SIMPLE only; the server \
                               is not opened";
                return Some((Severity::Warning, ("port.protocol", message.to_owned())));
            }
        };
        if self.configs.contains_key(&terms) {
            return None;
        }
        match read(&terms) {
            Ok(config) => {
                self.configs.insert(terms, Arc::new(config));
                None
            }
            Err(refusal) => Some((Severity::Error, refusal)),
        }
    }
}

fn is_https(server: &Server) -> bool {
    let port = server.port.as_ref();
    port.is_some_and(|port| port.protocol.eq_ignore_ascii_case("HTTPS"))
}

/// The terms of a server that terminates TLS in a way that we can.
///
/// Anything that asks for more than a certificate of our own, such as one of the client, gives none:
/// such a server stays shut rather than be served with less than was asked for.
fn terms(server: &Server) -> Option<Result<Terms, Refusal>> {
    let tls = server.tls.as_ref().filter(|_| is_https(server))?;
    let from_secret = written(tls.credential_name.as_ref()).is_some()
        || !tls.credential_names.is_empty()
        || !tls.tls_certificates.is_empty();
    if tls.mode != Some(ServerTlsMode::Simple) || from_secret {
        return None;
    }
    let certificate = written(tls.server_certificate.as_ref())?.to_owned();
    let key = written(tls.private_key.as_ref())?.to_owned();
    Some(versions(tls).map(|versions| Terms {
        certificate,
        key,
        versions,
    }))
}

/// TLS below 1.2 is not spoken (RFC 8996).
fn versions(tls: &ServerTls) -> Result<Versions, Refusal> {
    let allows12 = match tls.min_protocol_version {
        Some(TlsProtocol::Tlsv1_3) => false,
        Some(
            TlsProtocol::TlsAuto
            | TlsProtocol::Tlsv1_0
            | TlsProtocol::Tlsv1_1
            | TlsProtocol::Tlsv1_2,
        )
        | None => true,
    };
    match (tls.max_protocol_version, allows12) {
        (Some(TlsProtocol::Tlsv1_0 | TlsProtocol::Tlsv1_1), _) => Err((
            "tls.maxProtocolVersion",
            "must be TLSV1_2 or TLSV1_3: older versions are not spoken".to_owned(),
        )),
        (Some(TlsProtocol::Tlsv1_2), true) => Ok(Versions::Only12),
        (Some(TlsProtocol::Tlsv1_2), false) => Err((
            "tls.maxProtocolVersion",
            "must not be below minProtocolVersion".to_owned(),
        )),
        (Some(TlsProtocol::Tlsv1_3 | TlsProtocol::TlsAuto) | None, true) => Ok(Versions::Both),
        (Some(TlsProtocol::Tlsv1_3 | TlsProtocol::TlsAuto) | None, false) => Ok(Versions::Only13),
    }
}

fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// What terminates TLS by these terms.
fn read(terms: &Terms) -> Result<ServerConfig, Refusal> {
    const CERTIFICATE: &str = "tls.serverCertificate";
    const KEY: &str = "tls.privateKey";
    let chain = pem::chain(terms.certificate.as_ref()).map_err(|it| (CERTIFICATE, it))?;
    let key = pem::key(terms.key.as_ref()).map_err(|it| (KEY, it))?;
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&terms.versions.supported())
        .map_err(|error| ("tls", error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => (
            KEY,
            "must belong to the certificate of serverCertificate".to_owned(),
        ),
        error => (CERTIFICATE, format!("cannot be used: {error}")),
    })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

// === impl Versions ===

impl Versions {
    fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Only12 => vec![&TLS12],
            Self::Only13 => vec![&TLS13],
            Self::Both => vec![&TLS13, &TLS12],
        }
    }
}

#[cfg(test)]
mod tests;
