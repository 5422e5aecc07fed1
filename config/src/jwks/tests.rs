use serde_json::json;

use super::*;

/// A modulus of as many bits, in base64url.
fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] >>= bits.next_multiple_of(8) - bits;
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse(keys: Value) -> KeySet {
    let text = json!({"keys": keys}).to_string();
    KeySet::parse(text.as_bytes()).expect("a key set")
}

/// The answer to a set of one key.
fn only(key: Value) -> Result<Key, Unusable> {
    let mut set = parse(json!([key]));
    match set.keys.pop() {
        Some(key) => Ok(key),
        None => Err(set.unusable[0].1),
    }
}

fn coordinate(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(vec![7; bytes])
}

#[test]
fn keys_of_every_kind_are_read() {
    let set = parse(json!([
        {"kty": "RSA", "kid": "a", "n": modulus(2_048), "e": "AQAB", "use": "sig"},
        {"kty": "EC", "crv": "P-256", "x": coordinate(32), "y": coordinate(32), "alg": "ES256"},
        {"kty": "EC", "crv": "P-384", "x": coordinate(48), "y": coordinate(48)},
        {"kty": "EC", "crv": "P-521", "x": coordinate(66), "y": coordinate(66)},
        {"kty": "OKP", "crv": "Ed25519", "x": coordinate(32), "key_ops": ["verify"]},
    ]));

    assert_eq!(set.unusable, []);
    assert_eq!(set.keys.len(), 5);
    assert_eq!(set.keys[0].id.as_deref(), Some("a"));
    assert_eq!(set.keys[1].algorithm.as_deref(), Some("ES256"));
}

#[test]
fn what_cannot_check_a_signature_is_left_out() {
    let rsa = |key: Value| {
        let mut whole = json!({"kty": "RSA", "n": modulus(2_048), "e": "AQAB"});
        for (name, value) in key.as_object().expect("a mapping") {
            whole[name] = value.clone();
        }
        whole
    };
    for (key, expected) in [
        (json!({"kty": "oct", "k": "c2VjcmV0"}), Unusable::Secret),
        (rsa(json!({"use": "enc"})), Unusable::NotForSignatures),
        (rsa(json!({"use": 1})), Unusable::NotForSignatures),
        (
            rsa(json!({"key_ops": ["sign"]})),
            Unusable::NotForSignatures,
        ),
        (rsa(json!({"alg": "HS256"})), Unusable::Unknown),
        (rsa(json!({"alg": "none"})), Unusable::Unknown),
        (rsa(json!({"alg": "ES256"})), Unusable::Unknown),
        (rsa(json!({"alg": "RSA-OAEP"})), Unusable::Unknown),
        (rsa(json!({"alg": 7})), Unusable::Malformed),
        (rsa(json!({"kid": 7})), Unusable::Malformed),
        (rsa(json!({"e": "AQ"})), Unusable::Malformed),
        (rsa(json!({"e": "Ag"})), Unusable::Malformed),
        (rsa(json!({"e": ""})), Unusable::Malformed),
        (rsa(json!({"e": "AQAB="})), Unusable::Malformed),
        (rsa(json!({"n": modulus(2_047)})), Unusable::Size),
        (rsa(json!({"n": modulus(8_193)})), Unusable::Size),
        (rsa(json!({"n": ""})), Unusable::Size),
        (rsa(json!({"n": null})), Unusable::Malformed),
        (json!({"kty": "AKP", "pub": "AA"}), Unusable::Unknown),
        (
            json!({"kty": "rsa", "n": modulus(2_048), "e": "AQAB"}),
            Unusable::Unknown,
        ),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": coordinate(32), "y": coordinate(32)}),
            Unusable::Unknown,
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": coordinate(31), "y": coordinate(32)}),
            Unusable::Malformed,
        ),
        (
            json!({"kty": "OKP", "crv": "X25519", "x": coordinate(32)}),
            Unusable::Unknown,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": coordinate(31)}),
            Unusable::Malformed,
        ),
    ] {
        assert_eq!(only(key.clone()), Err(expected), "{key}");
    }
}

#[test]
fn leading_zeros_of_a_modulus_do_not_count() {
    let mut padded = vec![0; 200];
    padded.extend([0xff; 100]);

    let key = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(padded), "e": "AQAB"});

    assert_eq!(only(key), Err(Unusable::Size));
}

#[test]
fn a_key_by_itself_is_a_set_of_one() {
    let key = json!({"kty": "RSA", "n": modulus(2_048), "e": "AQAB"}).to_string();

    let set = KeySet::parse(key.as_bytes()).expect("a key set");

    assert_eq!(set.keys.len(), 1);
}

#[test]
fn what_is_no_set_is_refused() {
    for (text, expected) in [
        ("[]", KeySetError::NoKeys),
        ("{}", KeySetError::NoKeys),
        (r#"{"keys": {}}"#, KeySetError::NoKeys),
        (r#"{"keys": [7]}"#, KeySetError::NoKind(0)),
        (r#"{"keys": [{"kid": "a"}]}"#, KeySetError::NoKind(0)),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()), Err(expected), "{text}");
    }
    for text in ["foo", r#"{"keys": [], "keys": []}"#] {
        let refused = KeySet::parse(text.as_bytes());
        assert!(matches!(refused, Err(KeySetError::Json(_))), "{text}");
    }
    let many = json!({"keys": vec![json!({"kty": "RSA"}); KEYS_MAX + 1]}).to_string();
    assert_eq!(
        KeySet::parse(many.as_bytes()),
        Err(KeySetError::TooMany(KEYS_MAX + 1))
    );
}
