//! Origins behind TLS.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

use crate::authority::{Authority, Signed};

/// What a connection was like once hands were shaken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The name that was asked for; empty if there was none.
    pub server_name: String,
    /// What was agreed upon to speak; empty if nothing was.
    pub protocol: String,
    /// Whether the client showed a certificate.
    pub has_client: bool,
    /// Whether an earlier session went on.
    pub is_resumed: bool,
}

// === impl Signed ===

impl Signed {
    /// A server that shows this certificate and agrees to one of `protocols`, or to nothing.
    ///
    /// # Panics
    ///
    /// If the certificate and the key do not fit.
    pub fn server(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth();
        self.finish(config, protocols)
    }

    /// The same, which wants a certificate of `authority`.
    ///
    /// # Panics
    ///
    /// If the certificate and the key do not fit.
    pub fn server_for(&self, authority: &Authority, protocols: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let root = CertificateDer::from_pem_slice(authority.root().as_bytes());
        let mut roots = RootCertStore::empty();
        roots.add(root.expect("a certificate")).expect("a root");
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_client_cert_verifier(clients.build().expect("a root"));
        self.finish(config, protocols)
    }

    fn finish(
        &self,
        config: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
        protocols: &[&str],
    ) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let mut config = config.with_single_cert(chain, key).expect("they fit");
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

// === impl Handshake ===

impl Handshake {
    pub(crate) fn of(session: &ServerConnection) -> Self {
        let protocol = session.alpn_protocol().unwrap_or_default();
        Self {
            server_name: session.server_name().unwrap_or_default().to_owned(),
            protocol: String::from_utf8_lossy(protocol).into_owned(),
            has_client: session.peer_certificates().is_some(),
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}
