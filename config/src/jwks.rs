//! Sets of public keys that tokens are checked with (JWK sets, RFC 7517 §5).
//!
//! What cannot check a signature is left out and said: keys for encryption, secrets of HMAC, which
//! whoever can check could also sign with, and kinds that are not known here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json;

/// Most keys of a set: a token that names none is tried with each of them.
pub const KEYS_MAX: usize = 32;
/// Shortest modulus of RSA, in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2_048;
/// Longest modulus of RSA, in bits: longer ones only cost time.
const RSA_BITS_MAX: usize = 8_192;

/// A set of public keys, as far as they can check signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    /// The keys, in order.
    pub keys: Vec<Key>,
    /// Which of the others cannot be used, by position, and why not.
    pub unusable: Vec<(usize, Unusable)>,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name by which tokens choose it (`kid`).
    pub id: Option<String>,
    /// The only algorithm it is for (`alg`).
    pub algorithm: Option<String>,
    /// The key itself.
    pub material: Material,
}

/// The numbers of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// RSA: modulus and exponent, big-endian without leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// A point on a curve, each coordinate as long as the curve's field.
    Ec {
        /// The curve.
        curve: Curve,
        /// First coordinate.
        x: Vec<u8>,
        /// Second coordinate.
        y: Vec<u8>,
    },
    /// Ed25519 (RFC 8037): 32 bytes.
    Ed25519(Vec<u8>),
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// P-256, of `ES256`.
    P256,
    /// P-384, of `ES384`.
    P384,
    /// P-521, of `ES512`.
    P521,
}

/// Why a key cannot check the signature of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// A secret of HMAC.
    Secret,
    /// It is for something else (`use`, `key_ops`).
    NotForSignatures,
    /// Its kind, curve or algorithm is not known here.
    Unknown,
    /// A number is missing, or not as its kind demands.
    Malformed,
    /// RSA with fewer than 2048 bits or more than 8192.
    Size,
}

/// A text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not JSON, or a name stands twice.
    #[error("must be a JSON Web Key Set: {0}")]
    Json(String),
    /// It has no `keys`.
    #[error("must be a JSON Web Key Set: a mapping with a list \"keys\"")]
    NoKeys,
    /// It has too many.
    #[error("must have at most {KEYS_MAX} keys, got {0}")]
    TooMany(usize),
    /// One of them says not what it is.
    #[error("must have keys with a \"kty\", number {0} has none")]
    NoKind(usize),
}

// === impl KeySet ===

impl KeySet {
    /// Reads a set, or a key by itself.
    ///
    /// # Errors
    ///
    /// When it is none, or one that is too large.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let value = json::parse(text).map_err(|error| KeySetError::Json(error.to_string()))?;
        let items = match &value {
            Value::Object(map) => match (map.get("keys"), map.get("kty")) {
                (Some(Value::Array(items)), _) => items.as_slice(),
                (None, Some(Value::String(_))) => std::slice::from_ref(&value),
                (Some(_) | None, _) => return Err(KeySetError::NoKeys),
            },
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return Err(KeySetError::NoKeys),
        };
        if items.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(items.len()));
        }
        let mut set = Self::default();
        for (at, item) in items.iter().enumerate() {
            let written = item.as_object().ok_or(KeySetError::NoKind(at))?;
            let kind = text_of(written, "kty").ok_or(KeySetError::NoKind(at))?;
            match Key::read(kind, written) {
                Ok(key) => set.keys.push(key),
                Err(unusable) => set.unusable.push((at, unusable)),
            }
        }
        Ok(set)
    }
}

// === impl Key ===

impl Key {
    fn read(kind: &str, written: &Map<String, Value>) -> Result<Self, Unusable> {
        if kind == "oct" {
            return Err(Unusable::Secret);
        }
        if !is_for_signatures(written) {
            return Err(Unusable::NotForSignatures);
        }
        let material = match kind {
            "RSA" => rsa(written)?,
            "EC" => ec(written)?,
            "OKP" => ed25519(written)?,
            _ => return Err(Unusable::Unknown),
        };
        let text = |name| match written.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Unusable::Malformed),
        };
        let key = Self {
            id: text("kid")?,
            algorithm: text("alg")?,
            material,
        };
        let algorithm = key.algorithm.as_deref();
        match algorithm.is_none_or(|it| key.material.algorithms().contains(&it)) {
            true => Ok(key),
            false => Err(Unusable::Unknown),
        }
    }
}

/// Whether a key may check signatures: neither `use` nor `key_ops` says otherwise.
fn is_for_signatures(written: &Map<String, Value>) -> bool {
    let by_use = match written.get("use") {
        None => true,
        Some(it) => it == "sig",
    };
    let by_operations = match written.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|it| it == "verify"),
        Some(_) => false,
    };
    by_use && by_operations
}

fn rsa(written: &Map<String, Value>) -> Result<Material, Unusable> {
    let number = |name| {
        let bytes = bytes_of(written, name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(bytes[zeros..].to_vec())
    };
    let (n, e): (Vec<u8>, Vec<u8>) = (number("n")?, number("e")?);
    let unused = n.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = n.len() * 8 - unused;
    // An exponent of 1 would let everything pass, and even ones are none.
    let is_exponent = e.last().is_some_and(|last| last % 2 == 1) && e != [1];
    if !is_exponent || e.len() > 4 {
        return Err(Unusable::Malformed);
    }
    match (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        true => Ok(Material::Rsa { n, e }),
        false => Err(Unusable::Size),
    }
}

fn ec(written: &Map<String, Value>) -> Result<Material, Unusable> {
    let curve = match text_of(written, "crv").ok_or(Unusable::Malformed)? {
        "P-256" => Curve::P256,
        "P-384" => Curve::P384,
        "P-521" => Curve::P521,
        _ => return Err(Unusable::Unknown),
    };
    let (x, y) = (bytes_of(written, "x")?, bytes_of(written, "y")?);
    match x.len() == curve.bytes() && y.len() == curve.bytes() {
        true => Ok(Material::Ec { curve, x, y }),
        false => Err(Unusable::Malformed),
    }
}

fn ed25519(written: &Map<String, Value>) -> Result<Material, Unusable> {
    match text_of(written, "crv").ok_or(Unusable::Malformed)? {
        "Ed25519" => {}
        _ => return Err(Unusable::Unknown),
    }
    let x = bytes_of(written, "x")?;
    match x.len() {
        32 => Ok(Material::Ed25519(x)),
        _ => Err(Unusable::Malformed),
    }
}

fn text_of<'v>(written: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    written.get(name).and_then(Value::as_str)
}

fn bytes_of(written: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unusable> {
    let text = text_of(written, name).ok_or(Unusable::Malformed)?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Unusable::Malformed)
}

// === impl Material ===

impl Material {
    /// The algorithms of signatures that a key of this kind can check (RFC 7518 §3.1, RFC 8037).
    pub fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Rsa { .. } => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Self::Ec { curve, .. } => match curve {
                Curve::P256 => &["ES256"],
                Curve::P384 => &["ES384"],
                Curve::P521 => &["ES512"],
            },
            Self::Ed25519(_) => &["EdDSA", "Ed25519"],
        }
    }
}

// === impl Curve ===

impl Curve {
    /// Length of a coordinate.
    fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

// === impl Unusable ===

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "is a secret (kty oct), and whoever knows it can make tokens",
            Self::NotForSignatures => "is not for signatures, by its use or key_ops",
            Self::Unknown => "is of a kind, curve or algorithm that is not known",
            Self::Malformed => "has a part that is missing or malformed",
            Self::Size => "is RSA of less than 2048 or more than 8192 bits",
        })
    }
}

#[cfg(test)]
mod tests;
