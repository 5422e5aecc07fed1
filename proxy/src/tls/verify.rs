//! Whom we believe: a peer's chain must lead to an authority of ours, and its certificate must name
//! exactly one workload, of a trust domain that we are told of.
//!
//! Names of hosts count for nothing here: what a workload is called in DNS is not who it is.

use std::sync::Arc;

use config::spiffe::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::tls::identity::{NameError, workload_of};
use crate::tls::words;

/// Why a peer is not believed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum PeerFault {
    #[error("the peer has no certificate")]
    NoCertificate,
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    #[error("the certificate is not from an authority that is believed")]
    UnknownAuthority,
    /// Also the certificate of an authority that has the name of ours and another key.
    #[error("a signature is not by the key that it should be by")]
    BadSignature,
    #[error("the certificate is not for this use")]
    WrongUsage,
    #[error(transparent)]
    Name(NameError),
    #[error("{0} is of a trust domain that is not believed")]
    TrustDomain(SpiffeId),
    #[error("{0} is not who was expected")]
    Unexpected(SpiffeId),
    #[error("the certificate is revoked")]
    Revoked,
    /// What its authority revoked is not known, or not any more.
    #[error(
        "no list of what is revoked that is in force and signed by its authority speaks of the \
         certificate"
    )]
    UnknownRevocation,
    #[error("the certificate bears none of the names that are let in")]
    OtherName,
    #[error("neither the certificate nor its key is one of those that are let in")]
    OtherKey,
    #[error("the certificate is not acceptable: {}", words::of_certificate(.0))]
    Unacceptable(CertificateError),
}

/// Whose workloads are believed.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    /// Authorities; at least one, several while they rotate.
    pub(crate) roots: Arc<RootCertStore>,
    /// Trust domains: the own one, then others that we are told of.
    pub(crate) domains: Arc<[Box<str>]>,
}

/// Believes clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    trust: Trust,
    /// Checks chain, dates and usage.
    chains: Arc<dyn ClientCertVerifier>,
}

/// Believes servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: Trust,
    /// Whom a server must be one of; empty where any workload will do.
    expected: Box<[Box<str>]>,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Trust ===

impl Trust {
    /// The workload that a certificate whose chain is good names.
    fn workload(&self, certificate: &CertificateDer<'_>) -> Result<SpiffeId, PeerFault> {
        let id = workload_of(certificate).map_err(PeerFault::Name)?;
        match self.domains.iter().any(|it| **it == *id.trust_domain()) {
            true => Ok(id),
            false => Err(PeerFault::TrustDomain(id)),
        }
    }
}

// === impl ClientVerifier ===

impl ClientVerifier {
    /// Believes the workloads of `trust`.
    ///
    /// # Errors
    ///
    /// Without any authority.
    pub(crate) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let roots = Arc::clone(&trust.roots);
        let chains = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            // A workload has one certificate: it needs no hint which to show, and who is no
            // workload need not hear the names of our authorities.
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            trust: trust.clone(),
            chains,
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
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
        self.trust.workload(end_entity)?;
        Ok(verified)
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

// === impl ServerVerifier ===

impl ServerVerifier {
    /// Believes the workloads of `trust`, and of them only those that are `expected`, if there are
    /// any: identities as they are written, `spiffe://…`.
    pub(crate) fn new(
        trust: &Trust,
        expected: impl IntoIterator<Item = Box<str>>,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            trust: trust.clone(),
            expected: expected.into_iter().collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.trust.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let id = self.trust.workload(end_entity)?;
        let is_expected = self.expected.iter().any(|it| **it == *id.as_str());
        if !is_expected && !self.expected.is_empty() {
            return Err(PeerFault::Unexpected(id).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

// === impl PeerFault ===

impl PeerFault {
    /// What the peer did wrong, if it is its certificate for which a handshake failed.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        use CertificateError as Written;
        let error = match error {
            Error::NoCertificatesPresented => return Some(Self::NoCertificate),
            Error::InvalidCertificate(error) => error,
            Error::InvalidCertRevocationList(_) => return Some(Self::UnknownRevocation),
            // There are many more ways in which a handshake fails, none of which is a matter of
            // certificates.
            _ => return None,
        };
        Some(match error {
            Written::BadEncoding => Self::Unreadable,
            Written::Expired | Written::ExpiredContext { .. } => Self::Expired,
            Written::NotValidYet | Written::NotValidYetContext { .. } => Self::NotYetValid,
            Written::UnknownIssuer => Self::UnknownAuthority,
            Written::BadSignature => Self::BadSignature,
            Written::InvalidPurpose | Written::InvalidPurposeContext { .. } => Self::WrongUsage,
            Written::Revoked => Self::Revoked,
            Written::UnknownRevocationStatus
            | Written::ExpiredRevocationList
            | Written::ExpiredRevocationListContext { .. } => Self::UnknownRevocation,
            Written::Other(OtherError(cause)) => match cause.downcast_ref::<Self>() {
                Some(fault) => fault.clone(),
                None => Self::Unacceptable(error.clone()),
            },
            // The library adds reasons as it grows; they are told in its words.
            other => Self::Unacceptable(other.clone()),
        })
    }

    /// The reason as metrics name it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "tls_no_certificate",
            Self::Unreadable => "tls_unreadable_certificate",
            Self::Expired => "tls_certificate_expired",
            Self::NotYetValid => "tls_certificate_not_yet_valid",
            Self::UnknownAuthority => "tls_unknown_authority",
            Self::BadSignature => "tls_bad_signature",
            Self::WrongUsage => "tls_wrong_usage",
            Self::Name(NameError::Unreadable) => "tls_unreadable_certificate",
            Self::Name(NameError::None) => "tls_no_identity",
            Self::Name(NameError::Several(_)) => "tls_several_identities",
            Self::Name(NameError::Malformed(..)) => "tls_malformed_identity",
            Self::TrustDomain(_) => "tls_foreign_trust_domain",
            Self::Unexpected(_) => "tls_unexpected_identity",
            Self::Revoked => "tls_certificate_revoked",
            Self::UnknownRevocation => "tls_unknown_revocation",
            Self::OtherName => "tls_name_not_let_in",
            Self::OtherKey => "tls_key_not_let_in",
            Self::Unacceptable(_) => "tls_unacceptable_certificate",
        }
    }
}

impl From<PeerFault> for Error {
    fn from(fault: PeerFault) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
    }
}

#[cfg(test)]
mod tests;
