//! Makes tokens, good and bad ones.

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Somebody with a private key.
pub(super) struct Signer {
    algorithm: &'static str,
    /// Its name among the keys of an issuer, another one for each.
    pub(super) id: String,
    key: Private,
}

enum Private {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

/// Base64url without padding.
pub(super) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// One for each algorithm.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::rsa("RS256", &signature::RSA_PKCS1_SHA256),
            Self::rsa("RS384", &signature::RSA_PKCS1_SHA384),
            Self::rsa("RS512", &signature::RSA_PKCS1_SHA512),
            Self::rsa("PS256", &signature::RSA_PSS_SHA256),
            Self::rsa("PS384", &signature::RSA_PSS_SHA384),
            Self::rsa("PS512", &signature::RSA_PSS_SHA512),
            Self::es256(),
        ];
        all.push(Self::ec("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING));
        all.push(Self::ec("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING));
        let ed = Ed25519KeyPair::generate().expect("a key");
        all.push(Self::new("EdDSA", Private::Ed(ed)));
        all
    }

    pub(super) fn es256() -> Self {
        Self::ec("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn rs256() -> Self {
        Self::rsa("RS256", &signature::RSA_PKCS1_SHA256)
    }

    fn rsa(algorithm: &'static str, encoding: &'static dyn RsaEncoding) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self::new(algorithm, Private::Rsa(key, encoding))
    }

    fn ec(
        algorithm: &'static str,
        curve: &'static str,
        how: &'static EcdsaSigningAlgorithm,
    ) -> Self {
        let key = EcdsaKeyPair::generate(how).expect("a key");
        Self::new(algorithm, Private::Ec(key, curve))
    }

    fn new(algorithm: &'static str, key: Private) -> Self {
        let id = format!("key-{:016x}", fastrand::u64(..));
        Self { algorithm, id, key }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The header of its tokens.
    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm, "kid": self.id, "typ": "JWT"})
    }

    /// A token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_texts(&self.header().to_string(), &claims.to_string())
    }

    /// A token of these texts, whatever they are.
    pub(super) fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = encoded(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(super) fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Private::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, signed, &mut signature)
                    .expect("a signature");
                signature
            }
            Private::Ec(key, _) => {
                let signature = key.sign(&random, signed).expect("a signature");
                signature.as_ref().to_vec()
            }
            Private::Ed(key) => key.sign(signed).as_ref().to_vec(),
        }
    }

    /// Its public key.
    pub(super) fn key(&self) -> Value {
        let mut key = match &self.key {
            Private::Rsa(key, _) => {
                // In DER the numbers come one after the other, of 256 and 3 bytes, the second behind
                // its tag and length.
                let public = key.public_key().as_ref();
                let (rest, exponent) = public.split_at(public.len() - 3);
                let modulus = &rest[rest.len() - 2 - 256..rest.len() - 2];
                json!({"kty": "RSA", "n": encoded(modulus), "e": encoded(exponent)})
            }
            Private::Ec(key, curve) => {
                let point: EcPublicKeyUncompressedBin<'_> =
                    key.public_key().as_be_bytes().expect("a point");
                let point = &point.as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
            Private::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().as_ref())})
            }
        };
        key["kid"] = json!(self.id);
        key
    }

    /// Its public key as the only one of a set.
    pub(super) fn keys(&self) -> String {
        json!({"keys": [self.key()]}).to_string()
    }
}
