//! Who a peer is by its certificate: one of our roots must vouch for it, and it must name exactly one
//! workload of our trust domain. Nobody has to have one: who has none yet comes with a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::spiffe::SpiffeId;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The certificate of a connection whose chain was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// The workload that it names.
    pub(crate) id: SpiffeId,
    /// Until when it is valid: the connection may last longer.
    pub(crate) not_after: SystemTime,
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate must name one URI, and that must be a SPIFFE identity")]
    NotOne,
    #[error("{0} is of another trust domain")]
    TrustDomain(SpiffeId),
}

/// Believes clients that have a certificate, and lets in those that have none.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    trust_domain: Arc<str>,
    /// Checks chain, dates and usage.
    chains: Arc<dyn ClientCertVerifier>,
}

// === impl PeerCertificate ===

impl PeerCertificate {
    /// Reads a certificate whose chain was found good.
    pub(crate) fn read(certificate: &[u8], trust_domain: &str) -> Result<Self, NameError> {
        let Ok(([], parsed)) = parse_x509_certificate(certificate) else {
            return Err(NameError::Unreadable);
        };
        let names = parsed.subject_alternative_name();
        let names = names.map_err(|_| NameError::Unreadable)?;
        let names = names.ok_or(NameError::NotOne)?;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                // There are a dozen kinds of names that are none of workloads.
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err(NameError::NotOne);
        };
        let id = SpiffeId::parse(uri).map_err(|_| NameError::NotOne)?;
        if id.trust_domain() != trust_domain {
            return Err(NameError::TrustDomain(id));
        }
        let seconds = parsed.validity().not_after.timestamp();
        let not_after = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        Ok(Self {
            id,
            not_after: UNIX_EPOCH + not_after,
        })
    }
}

// === impl ClientVerifier ===

impl ClientVerifier {
    /// Believes the workloads of a trust domain that one of `roots` vouches for.
    ///
    /// # Errors
    ///
    /// Without any root.
    pub(crate) fn new(
        trust_domain: &Arc<str>,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let roots = Arc::new(roots);
        let chains = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            // A workload has one certificate: it needs no hint which to show.
            .clear_root_hint_subjects()
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            trust_domain: Arc::clone(trust_domain),
            chains,
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chains
            .verify_client_cert(end_entity, intermediates, now)?;
        match PeerCertificate::read(end_entity, &self.trust_domain) {
            Ok(_) => Ok(verified),
            Err(error) => Err(Error::InvalidCertificate(CertificateError::Other(
                OtherError(Arc::new(error)),
            ))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
