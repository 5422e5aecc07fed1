//! What is read of the certificates of authorities.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use crate::validity::Validity;

/// What a certificate says of the authority that it is of.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// When it is valid.
    pub(crate) validity: Validity,
    /// How many authorities may stand between it and a leaf; `None` for any number.
    pub(crate) path_length: Option<u32>,
    /// Its public key, in DER.
    pub(crate) public_key: Vec<u8>,
    /// Whether it signed itself.
    pub(crate) is_root: bool,
}

/// Why a certificate is of no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is no certificate, or has something behind it.
    #[error("cannot be read")]
    Unreadable,
    /// Its basic constraints (RFC 5280 §4.2.1.9) do not say that it is one, or say it without force.
    #[error("is of no authority: it lacks the critical basic constraint CA")]
    NoAuthority,
    /// Its key may not sign certificates.
    #[error("is of no authority: its key usage lacks keyCertSign")]
    NoSigner,
}

// === impl Facts ===

impl Facts {
    /// Reads the certificate of an authority.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parsed = parse(certificate)?;
        let unreadable = |_| CertificateError::Unreadable;
        let constraints = parsed.basic_constraints().map_err(unreadable)?;
        let constraints = constraints
            .filter(|it| it.critical && it.value.ca)
            .ok_or(CertificateError::NoAuthority)?;
        let usage = parsed.key_usage().map_err(unreadable)?;
        if !usage.is_some_and(|it| it.value.key_cert_sign()) {
            return Err(CertificateError::NoSigner);
        }
        let ends = parsed.validity();
        let validity =
            Validity::from_timestamps(ends.not_before.timestamp(), ends.not_after.timestamp());
        Ok(Self {
            validity: validity.ok_or(CertificateError::Unreadable)?,
            path_length: constraints.value.path_len_constraint,
            public_key: parsed.public_key().raw.to_vec(),
            is_root: is_signed_by(&parsed, &parsed),
        })
    }
}

/// Whether one certificate is named and signed by another.
pub(crate) fn is_issued_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    match (parse(certificate), parse(issuer)) {
        (Ok(certificate), Ok(issuer)) => is_signed_by(&certificate, &issuer),
        _ => false,
    }
}

fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(CertificateError::Unreadable),
    }
}
