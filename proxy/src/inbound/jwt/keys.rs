//! The keys of an issuer, ready to check signatures.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::ParsedPublicKey;
use config::jwks::{Key as Written, KeySet, KeySetError, Material};

use super::algorithm::Algorithm;
use super::refusal::Refusal;

/// What tells one text from another: nobody can make two with the same.
pub(super) type Fingerprint = [u8; 32];

/// The keys of an issuer.
#[derive(Debug)]
pub struct Keys {
    keys: Box<[Key]>,
    /// How many of the set were left out.
    unusable: usize,
    /// Of the text that they were read from.
    fingerprint: Fingerprint,
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    /// One for each algorithm that it is for, as each looks at the same numbers in its own way.
    checks: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// The fingerprint of a text.
pub(super) fn fingerprint(text: &[u8]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, text).as_ref());
    fingerprint
}

// === impl Keys ===

impl Keys {
    /// Reads a key set. Keys that cannot check signatures are left out.
    ///
    /// # Errors
    ///
    /// When the text is none.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set = KeySet::parse(text)?;
        let keys: Box<[Key]> = set.keys.iter().filter_map(Key::new).collect();
        Ok(Self {
            unusable: set.keys.len() + set.unusable.len() - keys.len(),
            keys,
            fingerprint: fingerprint(text),
        })
    }

    /// Keys of which there is none, so that no token is valid.
    pub fn none() -> Self {
        Self {
            keys: Box::default(),
            unusable: 0,
            fingerprint: fingerprint(b""),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many of the set cannot check signatures, or only weakly.
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names by which tokens choose them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Checks a signature with the key that is named, or with every key that has another name or none
    /// if it says so. The name selects within this set and means nothing else.
    pub(super) fn check(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::NoKeys);
        }
        let mut refusal = Refusal::NoMatchingKey;
        for key in &self.keys {
            if let (Some(wanted), Some(own)) = (id, key.id.as_deref())
                && wanted != own
            {
                continue;
            }
            let mut checks = key.checks.iter();
            if let Some((_, check)) = checks.find(|(own, _)| *own == algorithm) {
                refusal = Refusal::Signature;
                if check.verify_sig(signed, signature).is_ok() {
                    return Ok(());
                }
            }
        }
        Err(refusal)
    }
}

// === impl Key ===

impl Key {
    /// None if the numbers are no key, such as a point that is not on its curve.
    fn new(written: &Written) -> Option<Self> {
        let only = written.algorithm.as_deref();
        let names = written.material.algorithms().iter();
        let algorithms = names
            .filter(|name| only.is_none_or(|only| Algorithm::named(only) == Algorithm::named(name)))
            .filter_map(|name| Algorithm::named(name));
        let encoded = encoded(&written.material);
        let mut checks: Vec<(Algorithm, ParsedPublicKey)> = Vec::new();
        for algorithm in algorithms {
            if checks.iter().all(|(known, _)| *known != algorithm) {
                let parsed = ParsedPublicKey::new(algorithm.check(), &encoded).ok()?;
                checks.push((algorithm, parsed));
            }
        }
        Some(Self {
            id: written.id.as_deref().map(Into::into),
            checks: checks.into(),
        })
    }
}

/// The numbers of a key as the library reads them: RSA in DER (RFC 8017 §A.1.1), a point in its
/// uncompressed form (SEC 1 §2.3.3), Ed25519 as it is.
fn encoded(material: &Material) -> Vec<u8> {
    match material {
        Material::Rsa { n, e } => {
            let numbers = [integer(n), integer(e)].concat();
            element(0x30, &numbers)
        }
        Material::Ec { x, y, .. } => [&[4][..], x, y].concat(),
        Material::Ed25519(x) => x.clone(),
    }
}

/// A positive number in DER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = match bytes.first() {
        Some(first) if *first < 0x80 => &[],
        Some(_) | None => &[0],
    };
    element(0x02, &[sign, bytes].concat())
}

/// A tag with its length and content in DER (X.690 §8.1.3).
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let bytes = content.len().to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut encoded = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => encoded.push(short),
        Ok(_) | Err(_) => {
            let length = &bytes[zeros..];
            encoded.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            encoded.extend_from_slice(length);
        }
    }
    encoded.extend_from_slice(content);
    encoded
}
