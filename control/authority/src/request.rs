//! Signing requests of workloads (PKCS #10, RFC 2986), and what they are checked for.
//!
//! A request proves that its sender has the key, and says nothing that is believed: the identity is
//! the one that the caller found the sender entitled to, and a request that names anything else is
//! refused rather than corrected, so that nobody thinks to have got what was left out.

use config::spiffe::SpiffeId;
use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509;

/// Longest request in bytes of DER; one with an RSA key of 4 096 bits and the longest identity has
/// less than 4 KiB.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Longest request as PEM: a third more, and what may stand around it.
const REQUEST_PEM_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;

/// Fewest bits of an RSA key.
const RSA_BITS_MIN: usize = 2_048;
/// Most bits of an RSA key: larger ones cost whoever verifies, and nobody needs them for days.
const RSA_BITS_MAX: usize = 4_096;

/// A request that has passed all checks.
#[derive(Debug, Clone)]
pub struct Request {
    id: SpiffeId,
    key: SubjectPublicKeyInfo,
}

/// Which rule a request breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too long.
    #[error("the request must have at most {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    /// No request, or something behind it.
    #[error("the request cannot be read")]
    Unreadable,
    /// Another version than PKCS #10 has.
    #[error("the request must be of version 1")]
    Version,
    /// A key of another kind or size.
    #[error("the key must be for ECDSA P-256 or P-384, RSA of 2048 to 4096 bits, or Ed25519")]
    Key,
    /// Signed in a way that proves little, such as with SHA-1.
    #[error("the request must be signed with SHA-256, SHA-384, SHA-512 or Ed25519")]
    SignatureAlgorithm,
    /// The sender does not have the key.
    #[error("the signature is not of the request's key")]
    Signature,
    /// It has a subject; the identity is in a URI.
    #[error("the request must have no subject")]
    Subject,
    /// It has another attribute than one list of extensions.
    #[error("the request must have no attribute but one list of extensions")]
    Attribute,
    /// It asks for another extension than one of names.
    #[error("the request must ask for one subjectAltName and no other extension")]
    Extension,
    /// It names none, several, or one that is no URI.
    #[error("the request must name one URI and nothing else")]
    Names,
    /// It names another identity.
    #[error("the request must name {entitled}, not \"{named}\"")]
    NotEntitled {
        /// The identity that the sender is entitled to.
        entitled: SpiffeId,
        /// What it named, as far as it can be shown.
        named: String,
    },
}

// === impl Request ===

impl Request {
    /// Checks a request in DER whose sender is entitled to one identity.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn from_der(der: &[u8], entitled: &SpiffeId) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let parsed = match X509CertificationRequest::from_der(der) {
            Ok(([], parsed)) => parsed,
            Ok(_) | Err(_) => return Err(RequestError::Unreadable),
        };
        let info = &parsed.certification_request_info;
        if info.version.0 != 0 {
            return Err(RequestError::Version);
        }
        // Before the signature, so that nobody makes us verify what is large or weak.
        let key = key(&info.subject_pki)?;
        let signed_by = &parsed.signature_algorithm.algorithm;
        if !SIGNATURES.contains(signed_by) {
            return Err(RequestError::SignatureAlgorithm);
        }
        let verified = parsed.verify_signature();
        verified.map_err(|_| RequestError::Signature)?;
        subject(&info.subject)?;
        names(&parsed, entitled)?;
        Ok(Self {
            id: entitled.clone(),
            key,
        })
    }

    /// As [`Self::from_der`], of a request as PEM.
    ///
    /// # Errors
    ///
    /// As [`Self::from_der`].
    pub fn from_pem(text: &str, entitled: &SpiffeId) -> Result<Self, RequestError> {
        if text.len() > REQUEST_PEM_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
        Self::from_der(&der.map_err(|_| RequestError::Unreadable)?, entitled)
    }

    /// The identity that it is for.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub(crate) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }
}

/// Signatures that prove something.
const SIGNATURES: [x509_parser::der_parser::Oid<'static>; 6] = [
    OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
    OID_SIG_ED25519,
    OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
];

fn key(key: &x509::SubjectPublicKeyInfo<'_>) -> Result<SubjectPublicKeyInfo, RequestError> {
    let kind = &key.algorithm.algorithm;
    let fits = if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref();
        let curve = curve.and_then(|it| it.as_oid().ok());
        curve.is_some_and(|it| it == OID_EC_P256 || it == OID_NIST_EC_P384)
    } else if *kind == OID_PKCS1_RSAENCRYPTION {
        let bits = match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => rsa_bits(rsa.modulus),
            Ok(_) | Err(_) => 0,
        };
        (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits)
    } else {
        *kind == OID_SIG_ED25519
    };
    match fits {
        true => SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key),
        false => Err(RequestError::Key),
    }
}

/// Bits of a modulus without its leading zeros.
fn rsa_bits(modulus: &[u8]) -> usize {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    match modulus.get(zeros) {
        Some(first) => (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// A subject would be a second name. Istio's agents send one without text.
fn subject(subject: &x509::X509Name<'_>) -> Result<(), RequestError> {
    let mut attributes = subject.iter_attributes();
    match attributes.all(|attribute| attribute.as_slice().is_empty()) {
        true => Ok(()),
        false => Err(RequestError::Subject),
    }
}

fn names(request: &X509CertificationRequest<'_>, entitled: &SpiffeId) -> Result<(), RequestError> {
    let attributes = request.certification_request_info.attributes();
    let requested = match attributes {
        [] => return Err(RequestError::Extension),
        [only] => match only.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(requested) => requested,
            ParsedCriAttribute::ChallengePassword(_) | ParsedCriAttribute::UnsupportedAttribute => {
                return Err(RequestError::Attribute);
            }
        },
        [_, _, ..] => return Err(RequestError::Attribute),
    };
    let [extension] = &requested.extensions[..] else {
        return Err(RequestError::Extension);
    };
    let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
        return Err(RequestError::Extension);
    };
    let [GeneralName::URI(named)] = names.general_names[..] else {
        return Err(RequestError::Names);
    };
    match SpiffeId::parse(named) {
        Ok(id) if id == *entitled => Ok(()),
        Ok(_) | Err(_) => Err(RequestError::NotEntitled {
            entitled: entitled.clone(),
            named: shown(named),
        }),
    }
}

/// Longest name of a stranger that an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 256;

/// A stranger's text, short and without what could forge a line of a log.
fn shown(text: &str) -> String {
    let shown = text.chars().take(SHOWN_CHARS_MAX);
    shown.flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
