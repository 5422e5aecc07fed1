//! An issuer of tokens (JWT) with a key of ES256.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Somebody who signs tokens.
#[derive(Debug)]
pub struct Signer {
    id: String,
    key: EcdsaKeyPair,
}

/// Seconds since 1970.
///
/// # Panics
///
/// If the clock is before that.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock that is set").as_secs()
}

// === impl Signer ===

impl Signer {
    /// One with a fresh key of this name.
    ///
    /// # Panics
    ///
    /// If no key can be made.
    pub fn new(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self {
            id: id.to_owned(),
            key: key.expect("a key can be made"),
        }
    }

    /// A token of `issuer` that holds for five minutes, with more claims.
    ///
    /// # Panics
    ///
    /// If `more` is no mapping.
    pub fn token(&self, issuer: &str, more: &Value) -> String {
        let mut claims = json!({"iss": issuer, "sub": "jason", "exp": now() + 300});
        let own = claims.as_object_mut().expect("claims are a mapping");
        own.extend(more.as_object().expect("claims are a mapping").clone());
        let header = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of these texts, whatever they are.
    ///
    /// # Panics
    ///
    /// If nothing can be signed.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.expect("a text can be signed");
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    /// Its public key as the only one of a set.
    ///
    /// # Panics
    ///
    /// If the key cannot be written.
    pub fn keys(&self) -> String {
        let point: EcPublicKeyUncompressedBin<'_> = self
            .key
            .public_key()
            .as_be_bytes()
            .expect("a key has a point");
        let (x, y) = point.as_ref()[1..].split_at(32);
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(x), "y": encode(y),
        });
        json!({"keys": [key]}).to_string()
    }
}
