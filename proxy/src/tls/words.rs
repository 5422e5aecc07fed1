//! What the library finds wrong, in words for people; it often has but a name for it.

use rustls::{CertificateError, Error, InconsistentKeys, OtherError};

/// What is wrong.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "it is the key of another certificate".to_owned()
        }
        // The library adds errors as it grows; most have words.
        other => other.to_string(),
    }
}

/// What is wrong with a certificate.
pub(crate) fn of_certificate(error: &CertificateError) -> String {
    let CertificateError::Other(OtherError(cause)) = error else {
        return error.to_string();
    };
    match cause.downcast_ref() {
        Some(error) => of_chain(error),
        None => cause.to_string(),
    }
}

/// What is wrong with a certificate or the chain above it.
pub(crate) fn of_chain(error: &webpki::Error) -> String {
    use webpki::Error as Found;
    let words = match error {
        Found::UnsupportedCertVersion => "it is not of version 3 of X.509",
        Found::EndEntityUsedAsCa => "it was signed by a certificate that may not sign others",
        Found::CaUsedAsEndEntity => "it is the certificate of an authority",
        Found::PathLenConstraintViolated => "its chain is longer than an authority in it allows",
        Found::NameConstraintViolation => "an authority in its chain may not sign for its name",
        Found::UnsupportedCriticalExtension => "it has a critical extension that is not known",
        Found::InvalidCrlSignatureForPublicKey => "the list of what is revoked is not signed by it",
        // The library adds errors as it grows.
        other => return apart(&format!("{other:?}")),
    };
    words.to_owned()
}

/// A name of several words as several words.
fn apart(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for char in name.chars() {
        if char.is_ascii_uppercase() && words.ends_with(|it: char| it.is_ascii_lowercase()) {
            words.push(' ');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn names_of_errors_are_words() {
        let other = |it: webpki::Error| {
            of(&Error::InvalidCertificate(CertificateError::Other(
                OtherError(Arc::new(it)),
            )))
        };

        assert_eq!(
            other(webpki::Error::UnsupportedCertVersion),
            "it is not of version 3 of X.509"
        );
        assert_eq!(
            other(webpki::Error::MalformedExtensions),
            "malformed extensions"
        );
        let key = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        assert_eq!(of(&key), "it is the key of another certificate");
    }
}
