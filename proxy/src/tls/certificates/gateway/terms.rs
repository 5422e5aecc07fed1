//! What the servers of gateways say of TLS, apart from what is in the files that they name.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::resource::gateway::{Server, ServerTls, ServerTlsMode, TlsProtocol};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::Refusal;
use crate::tls::clients::{Authorities, Demands, Hash, Leniency, Presence};

/// What a server says of the TLS that ends at it. Servers that say the same are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    pub(super) credentials: Credentials,
    /// What clients must show; none if they are not asked.
    pub(super) clients: Option<Arc<Demands>>,
    pub(super) versions: Versions,
    /// Of TLS 1.2, by their places in [`SUITES`]; empty for all.
    suites: Vec<usize>,
    pub(super) inside: Inside,
}

/// How the server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Credentials {
    /// Certificates and their keys.
    Files(Vec<(String, String)>),
    Secrets(Vec<String>),
    /// The certificate of the workload.
    Workload,
}

/// The versions of TLS that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Versions {
    Only12,
    Only13,
    Both,
}

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Inside {
    Http,
    Opaque,
}

/// The suites of TLS 1.2 that are spoken, by the names of OpenSSL. Those of TLS 1.3 are always, as
/// nobody can choose among them.
static SUITES: [(&str, SupportedCipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

// === impl Terms ===

impl Terms {
    /// The terms of a server at which TLS ends; `None` if it does not end there.
    ///
    /// # Errors
    ///
    /// What is wrong with a field.
    pub(super) fn of(server: &Server) -> Result<Option<Self>, Refusal> {
        let protocol = server.port.as_ref().map_or("", |port| &port.protocol);
        let inside = match protocol.to_ascii_uppercase().as_str() {
            "HTTPS" => Inside::Http,
            "TLS" => Inside::Opaque,
            _ => return Ok(None),
        };
        let Some(tls) = &server.tls else {
            return Ok(None);
        };
        let mode = tls.mode.unwrap_or(ServerTlsMode::Passthrough);
        let (presence, credentials) = match mode {
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => return Ok(None),
            ServerTlsMode::Simple => (None, Credentials::of(tls)),
            ServerTlsMode::Mutual => (Some(Presence::Required), Credentials::of(tls)),
            ServerTlsMode::OptionalMutual => (Some(Presence::Optional), Credentials::of(tls)),
            ServerTlsMode::IstioMutual => (Some(Presence::Required), Credentials::Workload),
        };
        let clients = presence.map(|presence| demands(tls, presence, &credentials));
        let versions = versions(tls)?;
        Ok(Some(Self {
            clients: clients.transpose()?.map(Arc::new),
            suites: suites(tls, versions)?,
            credentials,
            versions,
            inside,
        }))
    }

    /// What does the arithmetic of these terms.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            let chosen = |suite: &SupportedCipherSuite| {
                suite.tls13().is_some() || self.suites.iter().any(|at| SUITES[*at].1 == *suite)
            };
            provider.cipher_suites.retain(chosen);
        }
        provider
    }
}

// === impl Credentials ===

impl Credentials {
    fn of(tls: &ServerTls) -> Self {
        if let Some(name) = written(tls.credential_name.as_ref()) {
            return Self::Secrets(vec![secret_name(name)]);
        }
        if !tls.credential_names.is_empty() {
            let names = tls.credential_names.iter();
            return Self::Secrets(names.map(|name| secret_name(name)).collect());
        }
        let pair = |certificate: Option<&String>, key: Option<&String>| {
            let text = |written: Option<&String>| written.cloned().unwrap_or_default();
            (text(certificate), text(key))
        };
        if tls.tls_certificates.is_empty() {
            let own = pair(tls.server_certificate.as_ref(), tls.private_key.as_ref());
            return Self::Files(vec![own]);
        }
        let listed = tls.tls_certificates.iter();
        let pairs = listed.map(|it| pair(it.server_certificate.as_ref(), it.private_key.as_ref()));
        Self::Files(pairs.collect())
    }
}

/// A secret may be named with where it is kept, which is always the namespace of the gateway.
fn secret_name(written: &str) -> String {
    let name = written.strip_prefix("kubernetes://").unwrap_or(written);
    name.to_owned()
}

/// What clients must show.
fn demands(
    tls: &ServerTls,
    presence: Presence,
    credentials: &Credentials,
) -> Result<Demands, Refusal> {
    Ok(Demands {
        presence,
        authorities: authorities(tls, credentials),
        revoked: written(tls.ca_crl.as_ref()).map(str::to_owned),
        names: tls.subject_alt_names.clone(),
        keys: hashes(&tls.verify_certificate_spki, base64_hash).map_err(|text| {
            let message = format!("must be SHA-256 hashes in Base64, got \"{text}\"");
            ("tls.verifyCertificateSpki", message)
        })?,
        certificates: hashes(&tls.verify_certificate_hash, hexadecimal_hash).map_err(|text| {
            let message = format!("must be SHA-256 hashes in hexadecimal digits, got \"{text}\"");
            ("tls.verifyCertificateHash", message)
        })?,
        leniency: match tls.insecure_skip_verify {
            Some(true) => Leniency::LetIn,
            Some(false) | None => Leniency::Refused,
        },
    })
}

fn authorities(tls: &ServerTls, credentials: &Credentials) -> Authorities {
    let listed = tls.tls_certificates.iter();
    let mut files = listed.filter_map(|it| written(it.ca_certificates.as_ref()));
    let file = written(tls.ca_certificates.as_ref()).or_else(|| files.next());
    match (written(tls.ca_cert_credential_name.as_ref()), credentials) {
        (_, Credentials::Workload) => Authorities::Mesh,
        (Some(name), _) => Authorities::Secrets(vec![secret_name(name)]),
        (None, Credentials::Secrets(names)) => {
            let apart = names.iter().map(|name| format!("{name}-cacert"));
            Authorities::Secrets(apart.chain(names.iter().cloned()).collect())
        }
        (None, Credentials::Files(_)) => Authorities::File(file.unwrap_or_default().to_owned()),
    }
}

fn hashes(written: &[String], read: fn(&str) -> Option<Hash>) -> Result<Vec<Hash>, &String> {
    let hashes = written.iter().map(|text| read(text).ok_or(text));
    hashes.collect()
}

fn base64_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Two digits for each byte, perhaps with colons between, as `openssl x509 -fingerprint` has them.
fn hexadecimal_hash(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The suites of TLS 1.2 that are named. A name that none stands for is told of by validation.
fn suites(tls: &ServerTls, versions: Versions) -> Result<Vec<usize>, Refusal> {
    let place = |name: &String| SUITES.iter().position(|(known, _)| known == name);
    let mut suites: Vec<usize> = tls.cipher_suites.iter().filter_map(place).collect();
    suites.sort_unstable();
    suites.dedup();
    match (tls.cipher_suites.is_empty(), versions) {
        (false, Versions::Only12 | Versions::Both) if suites.is_empty() => Err((
            "tls.cipherSuites",
            "must name at least one safe suite, such as ECDHE-ECDSA-AES128-GCM-SHA256".to_owned(),
        )),
        _ => Ok(suites),
    }
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

// === impl Versions ===

impl Versions {
    pub(super) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Only12 => vec![&TLS12],
            Self::Only13 => vec![&TLS13],
            Self::Both => vec![&TLS13, &TLS12],
        }
    }
}
