//! Private keys.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::pem::PEM_BYTES_MAX;

/// A private key. What is printed of it has no secret.
pub struct Key {
    pair: KeyPair,
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is too long, or has no private key that is not encrypted.
    #[error("must have a private key as PEM that is not encrypted")]
    Unreadable,
    /// It is of another kind than ECDSA P-256 and P-384, RSA and Ed25519.
    #[error("must be a key for ECDSA P-256 or P-384, RSA or Ed25519")]
    Kind,
    /// The system gave no randomness.
    #[error("cannot make a key")]
    Generate,
}

// === impl Key ===

impl Key {
    /// A new one for ECDSA P-256, which all peers understand.
    ///
    /// # Errors
    ///
    /// If the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate().map_err(|_| KeyError::Generate)?;
        Ok(Self { pair })
    }

    /// Reads the first private key of a text, in PKCS #8, SEC 1 or PKCS #1.
    ///
    /// # Errors
    ///
    /// If there is none, or it is of a kind that we do not use.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > PEM_BYTES_MAX {
            return Err(KeyError::Unreadable);
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| KeyError::Unreadable)?;
        let pair = KeyPair::try_from(&der).map_err(|_| KeyError::Kind)?;
        let known = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_RSA_SHA256,
            &rcgen::PKCS_ED25519,
        ];
        match known.contains(&pair.algorithm()) {
            true => Ok(Self { pair }),
            false => Err(KeyError::Kind),
        }
    }

    /// The key as PEM in PKCS #8: a secret.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// Its public half, in DER (`SubjectPublicKeyInfo`).
    pub fn public(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.pair
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", self.pair.algorithm())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let key = Key::generate().expect("randomness");

        let again = Key::from_pem(&key.to_pem()).expect("a key");

        assert_eq!(again.public(), key.public());
    }

    #[test]
    fn what_is_printed_has_no_secret() {
        let key = Key::generate().expect("randomness");

        let printed = format!("{key:?}");

        assert_eq!(printed, "Key { algorithm: PKCS_ECDSA_P256_SHA256, .. }");
    }

    #[test]
    fn other_texts_and_kinds_are_refused() {
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");

        for (text, error) in [
            (String::new(), KeyError::Unreadable),
            (
                "-----BEGIN PRIVATE KEY-----\n".to_owned(),
                KeyError::Unreadable,
            ),
            (" ".repeat(PEM_BYTES_MAX + 1), KeyError::Unreadable),
            (p521.serialize_pem(), KeyError::Kind),
        ] {
            assert_eq!(Key::from_pem(&text).err(), Some(error));
        }
    }
}
