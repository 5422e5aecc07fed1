//! An authority for tests, and the certificates of workloads that it signs.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore};

use crate::tls::mutual::{VERSIONS, own_certificate, owned, provider};
use crate::tls::verify::{ServerVerifier, Trust};

pub(crate) const DOMAIN: &str = "cluster.local";
pub(crate) const WORKLOAD: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What may be odd about a certificate.
pub(crate) type Knob = fn(&mut CertificateParams);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("ours")
    }

    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub(crate) fn trust(&self, domains: &[&str]) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Trust {
            roots: Arc::new(roots),
            domains: domains.iter().map(|it| Box::from(*it)).collect(),
        }
    }

    pub(crate) fn leaf(&self, uris: &[&str], knob: Knob) -> Arc<CertifiedKey> {
        let (certificate, key) = self.sign(uris, knob);
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(CertifiedKey::from_der(chain, key, &provider).expect("they fit"))
    }

    /// Writes what a workload keeps that believes this authority.
    pub(crate) fn write_identity(&self, folder: &Path, knob: Knob) {
        self.write_identity_of(folder, WORKLOAD, knob);
    }

    /// The same of another workload.
    pub(crate) fn write_identity_of(&self, folder: &Path, uri: &str, knob: Knob) {
        let (certificate, key) = self.sign(&[uri], knob);
        for (name, text) in [
            ("cert-chain.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("root-cert.pem", self.0.pem()),
        ] {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }

    fn sign(&self, uris: &[&str], knob: Knob) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().expect("ASCII")))
            .collect();
        knob(&mut params);
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate, key)
    }
}

/// How a workload enters another, which must be one of `expected` if there are any:
/// identities as they are written, `spiffe://…`.
///
/// # Errors
///
/// When the parts do not fit.
pub(crate) fn client(
    certified: &Arc<CertifiedKey>,
    trust: &Trust,
    expected: impl IntoIterator<Item = Box<str>>,
    protocols: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let provider = provider();
    let servers = ServerVerifier::new(trust, expected, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .dangerous() // What the library calls any other rule than its own; see `verify`.
        .with_custom_certificate_verifier(Arc::new(servers))
        .with_client_cert_resolver(own_certificate(certified));
    config.alpn_protocols = owned(protocols);
    Ok(config)
}
