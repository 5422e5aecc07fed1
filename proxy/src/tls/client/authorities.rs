//! Servers that are known by the names of hosts: their chain must lead to an authority, nothing in it
//! may be revoked, and the certificate must bear one of the names.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder,
};
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

/// Most names of a certificate that are told.
const TOLD_NAMES_MAX: usize = 8;

/// Who may have signed the certificates of servers, and what they took back.
#[derive(Debug)]
pub(crate) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    /// With any of them, every certificate of a chain must be spoken of by one that is not too old.
    revoked: Vec<CertRevocationList<'static>>,
    /// As they were read from files; those of the system are not among them.
    written: (
        Vec<CertificateDer<'static>>,
        Vec<CertificateRevocationListDer<'static>>,
    ),
}

/// Believes servers by the names of hosts.
#[derive(Debug)]
pub(super) struct HostVerifier {
    authorities: Arc<Authorities>,
    names: Box<[Name]>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A name of which a certificate must bear one.
#[derive(Debug)]
struct Name {
    /// As it is written: a certificate may bear it as a URI, as an e-mail address or as a host.
    text: Box<str>,
    /// The host or IP address, if it is one: then a wildcard of the certificate can cover it.
    host: Option<ServerName<'static>>,
}

// === impl Authorities ===

impl Authorities {
    /// Authorities with their lists of what is revoked.
    ///
    /// # Errors
    ///
    /// What is wrong: with a certificate first, then with a list.
    pub(crate) fn new(
        certificates: Vec<CertificateDer<'static>>,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(AuthorityError::Certificate)?;
        }
        Self::of(roots, certificates, lists)
    }

    /// Those of the system, but what cannot be used among them, with lists of our own.
    ///
    /// # Errors
    ///
    /// What is wrong with a list.
    pub(crate) fn of_system(
        certificates: Vec<CertificateDer<'static>>,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self::of(roots, Vec::new(), lists)
    }

    fn of(
        roots: RootCertStore,
        certificates: Vec<CertificateDer<'static>>,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, AuthorityError> {
        let parse = |list: &CertificateRevocationListDer<'_>| {
            let list = OwnedCertRevocationList::from_der(list);
            list.map(CertRevocationList::from)
        };
        let revoked: Result<_, _> = lists.iter().map(parse).collect();
        Ok(Self {
            anchors: roots.roots,
            revoked: revoked.map_err(AuthorityError::List)?,
            written: (certificates, lists),
        })
    }

    /// Their certificates as they were read from files; none of the system's.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.written.0
    }

    /// The certificates and lists that were read from files.
    pub(crate) fn written(
        &self,
    ) -> (
        &[CertificateDer<'static>],
        &[CertificateRevocationListDer<'static>],
    ) {
        (&self.written.0, &self.written.1)
    }

    /// Whether they were made of the same.
    pub(crate) fn is_made_of(
        &self,
        certificates: &[CertificateDer<'_>],
        lists: &[CertificateRevocationListDer<'_>],
    ) -> bool {
        self.written.0 == certificates && self.written.1 == lists
    }

    /// Whether a certificate that is in force is one of those that were written, as where a server signs
    /// its own and its file is all that is believed. The library takes no authority for a server, though
    /// whoever has the key of one could sign himself a certificate.
    fn names(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).map(ASN1Time::from_timestamp);
        let parsed = x509_parser::parse_x509_certificate(certificate);
        let (Ok((_, parsed)), Ok(Ok(now))) = (parsed, now) else {
            return false;
        };
        self.written.0.contains(certificate) && parsed.validity().is_valid_at(now)
    }

    fn verify(
        &self,
        leaf: &EndEntityCert<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok();
        let revocation =
            revocation.map(|it| it.with_expiration_policy(ExpirationPolicy::Enforce).build());
        leaf.verify_for_usage(
            algorithms.all,
            &self.anchors,
            chain,
            now,
            KeyUsage::server_auth(),
            revocation,
            None,
        )?;
        Ok(())
    }
}

/// Why there are no authorities.
#[derive(Debug)]
pub(crate) enum AuthorityError {
    /// A certificate cannot be that of one.
    Certificate(Error),
    /// A list of what is revoked cannot be used.
    List(webpki::Error),
}

// === impl HostVerifier ===

impl HostVerifier {
    pub(super) fn new(
        authorities: &Arc<Authorities>,
        names: &[Box<str>],
        provider: &CryptoProvider,
    ) -> Self {
        let name = |text: &str| Name {
            host: ServerName::try_from(text.to_owned()).ok(),
            text: text.into(),
        };
        Self {
            authorities: Arc::clone(authorities),
            names: names.iter().map(|it| name(it)).collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for HostVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(told)?;
        let verified = self
            .authorities
            .verify(&leaf, intermediates, now, self.algorithms);
        match verified {
            Err(webpki::Error::CaUsedAsEndEntity) if self.authorities.names(end_entity, now) => {}
            Err(error) => return Err(told(error)),
            Ok(()) => {}
        }
        match self.names.iter().any(|it| it.is_borne(&leaf, end_entity)) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::from(CertificateError::NotValidForNameContext {
                expected: server_name.to_owned(),
                presented: presented(end_entity),
            })),
        }
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

/// The reason in the terms of the handshake, which tells the server the right alert by it.
fn told(error: webpki::Error) -> Error {
    use webpki::Error as Found;
    let told = match error {
        Found::BadDer | Found::BadDerTime | Found::TrailingData(_) => CertificateError::BadEncoding,
        Found::CertExpired { .. } => CertificateError::Expired,
        Found::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Found::CertRevoked => CertificateError::Revoked,
        Found::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Found::UnknownRevocationStatus | Found::InvalidCrlSignatureForPublicKey => {
            CertificateError::UnknownRevocationStatus
        }
        Found::UnknownIssuer => CertificateError::UnknownIssuer,
        Found::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Found::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        // There are dozens, and the library adds more: they are told in its words.
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    told.into()
}

// === impl Name ===

impl Name {
    fn is_borne(&self, leaf: &EndEntityCert<'_>, certificate: &CertificateDer<'_>) -> bool {
        let covered = |host| leaf.verify_is_valid_for_subject_name(host).is_ok();
        self.host.as_ref().is_some_and(covered) || bears(certificate, &self.text)
    }
}

/// The names that a certificate bears, for the log.
fn presented(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let names = parsed.as_ref().ok().and_then(|(_, parsed)| {
        let names = parsed.subject_alternative_name().ok()??;
        let names = names.value.general_names.iter().take(TOLD_NAMES_MAX);
        Some(names.map(ToString::to_string).collect())
    });
    names.unwrap_or_default()
}

/// Whether a certificate bears exactly this text as a name.
fn bears(certificate: &CertificateDer<'_>, text: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::URI(name) | GeneralName::RFC822Name(name) => *name == text,
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(text),
        _ => false,
    })
}
