//! What attackers try: each is refused, and for its own reason.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::signer::{Signer, encoded};
use super::*;

/// A token with this header and the claims of a good one, signed by a key that is trusted.
fn headed(signer: &Signer, header: Value) -> String {
    signer.sign_texts(&header.to_string(), &claims().to_string())
}

/// The header of a signer with more.
fn more(signer: &Signer, more: Value) -> Value {
    let mut header = signer.header();
    let own = header.as_object_mut().expect("a mapping");
    own.extend(more.as_object().expect("a mapping").clone());
    header
}

#[test]
fn tokens_that_nobody_signed_are_refused_in_every_spelling() {
    let signer = Signer::rs256();
    let policy = trusting(&signer);
    for none in ["none", "None", "NONE", "nOnE", "none ", "", "\u{0}none"] {
        let header = json!({"alg": none, "kid": signer.id});
        let signed = headed(&signer, header);
        let (unsigned, _) = signed.rsplit_once('.').expect("a signature");
        for token in [signed.clone(), format!("{unsigned}."), unsigned.to_owned()] {
            let refused = principal(&policy, bearer(&token)).expect_err(none);

            let expected = [Refusal::UnknownAlgorithm, Refusal::Format];
            assert!(expected.contains(&refused), "{none}: {refused:?}");
        }
    }
    for header in [json!({}), json!({"alg": null}), json!({"alg": ["RS256"]})] {
        let refused = principal(&policy, bearer(&headed(&signer, header)));
        assert_eq!(refused, Err(Refusal::NoAlgorithm));
    }
}

#[test]
fn a_public_key_is_never_the_secret_of_hmac() {
    let signer = Signer::rs256();
    let policy = trusting(&signer);
    let key = signer.key();
    let secrets = [
        signer.keys().into_bytes(),
        key.to_string().into_bytes(),
        key["n"].as_str().expect("a modulus").as_bytes().to_vec(),
        Vec::new(),
    ];
    for (name, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
        ("hs256", hmac::HMAC_SHA256),
    ] {
        for secret in &secrets {
            let header = json!({"alg": name, "kid": signer.id});
            let signed = format!(
                "{}.{}",
                encoded(header.to_string()),
                encoded(claims().to_string())
            );
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
            let token = format!("{signed}.{}", encoded(tag.as_ref()));

            let refused = principal(&policy, bearer(&token));

            assert_eq!(refused, Err(Refusal::UnknownAlgorithm), "{name}");
        }
    }
}

#[test]
fn an_algorithm_must_fit_the_key() {
    let signers = Signer::all();
    for signer in &signers {
        let policy = trusting(signer);
        for other in &signers {
            if other.algorithm() == signer.algorithm() {
                continue;
            }
            let header = more(signer, json!({"alg": other.algorithm()}));

            let refused = principal(&policy, bearer(&headed(signer, header)));

            let expected = [Refusal::NoMatchingKey, Refusal::Signature];
            let refused = refused.expect_err(other.algorithm());
            assert!(expected.contains(&refused), "{refused:?}");
        }
    }
}

#[test]
fn a_key_for_one_algorithm_is_for_no_other() {
    let signer = Signer::rs256();
    let mut key = signer.key();
    key["alg"] = json!("PS256");
    let rule = json!({"issuer": ISSUER, "jwks": json!({"keys": [key]}).to_string()});

    let refused = principal(&policy(&[rule]), bearer(&signer.sign(&claims())));

    assert_eq!(refused, Err(Refusal::NoMatchingKey));
}

#[test]
fn the_name_of_a_key_is_a_name_and_nothing_else() {
    let (signer, other) = (Signer::es256(), Signer::es256());
    let policy = policy(&[
        rule(&signer),
        json!({"issuer": "https://other.example", "jwks": other.keys()}),
    ]);
    for id in [
        "../../../../dev/null",
        "/etc/passwd",
        "' UNION SELECT 'secret",
        "$(id)",
        "http://attacker.example/keys",
        "file:///proc/self/environ",
        "\u{0}",
        "",
        &"x".repeat(8_000),
    ] {
        let header = more(&signer, json!({"kid": id}));
        let refused = principal(&policy, bearer(&headed(&signer, header)));
        assert_eq!(refused, Err(Refusal::NoMatchingKey), "{id}");
    }
    // The key of another issuer, by its right name, signs for itself alone.
    let refused = principal(&policy, bearer(&other.sign(&claims())));
    assert_eq!(refused, Err(Refusal::NoMatchingKey));
    for id in [json!(7), json!(null), json!(["a"]), json!({"a": 1})] {
        let header = more(&signer, json!({"kid": id}));
        let refused = principal(&policy, bearer(&headed(&signer, header)));
        assert_eq!(refused, Err(Refusal::KeyId));
    }
}

#[test]
fn keys_in_a_token_are_not_those_of_the_issuer() {
    let (trusted, attacker) = (Signer::es256(), Signer::es256());
    let policy = trusting(&trusted);
    for header in [
        json!({"jwk": attacker.key()}),
        json!({"jku": "https://attacker.example/keys"}),
        json!({"x5u": "https://attacker.example/chain"}),
        json!({"x5c": ["MIIB"]}),
        json!({"jwk": attacker.key(), "kid": trusted.id}),
    ] {
        let header = more(&attacker, header);

        let refused = principal(&policy, bearer(&headed(&attacker, header)));

        let expected = [Refusal::NoMatchingKey, Refusal::Signature];
        assert!(expected.contains(&refused.expect_err("refused")));
    }
}

#[test]
fn extensions_that_must_be_understood_are_not() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    for critical in [json!(["b64"]), json!(["exp"]), json!([]), json!(null)] {
        let header = more(&signer, json!({"crit": critical, "b64": false}));

        let refused = principal(&policy, bearer(&headed(&signer, header)));

        assert_eq!(refused, Err(Refusal::Critical));
    }
}

#[test]
fn a_token_has_one_form() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let good = signer.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let padded = |at: usize| {
        let mut parts: Vec<String> = parts.iter().map(|it| (*it).to_owned()).collect();
        parts[at].push('=');
        parts.join(".")
    };
    for (token, expected) in [
        (String::new(), Refusal::Format),
        ("..".to_owned(), Refusal::Format),
        (signed.to_owned(), Refusal::Format),
        (format!("{signed}."), Refusal::Format),
        (format!("{good}."), Refusal::Format),
        (format!(".{good}"), Refusal::Format),
        (format!("{good}.{signature}"), Refusal::Format),
        (format!("{good}.a.b"), Refusal::Format),
        (padded(0), Refusal::HeaderEncoding),
        (padded(1), Refusal::PayloadEncoding),
        (padded(2), Refusal::SignatureEncoding),
        (format!("{good} "), Refusal::Signature),
        (format!("{good} x"), Refusal::SignatureEncoding),
        (format!("{good}A"), Refusal::Signature),
        (format!("{good}AAA"), Refusal::SignatureEncoding),
        (good[..good.len() - 6].to_owned(), Refusal::Signature),
        (good[..good.len() / 2].to_owned(), Refusal::Format),
        ("a".repeat(1 << 20), Refusal::TooLong),
        (
            format!("{}{good}", "A".repeat(16 * 1_024)),
            Refusal::TooLong,
        ),
        (signer.sign_texts("[]", "{}"), Refusal::HeaderJson),
        (signer.sign_texts("", "{}"), Refusal::Format),
        (
            signer.sign_texts(&signer.header().to_string(), "7"),
            Refusal::PayloadJson,
        ),
        (
            signer.sign_texts(&signer.header().to_string(), "{\"iss\": \"a\"} x"),
            Refusal::PayloadJson,
        ),
    ] {
        let header = request("/", &[("authorization", &format!("Bearer {token}"))]);
        let trimmed = token.ends_with(' ');

        let refused = principal(&policy, header);

        match trimmed {
            // What surrounds a token in a header is not of it.
            true => assert!(refused.is_ok()),
            false => assert_eq!(refused, Err(expected), "{}", &token[..token.len().min(99)]),
        }
    }
}

#[test]
fn bits_that_nobody_looks_at_must_not_differ() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let good = signer.sign(&claims());
    // Of the last character of 64 bytes four bits are not used.
    let last = good.pop_char();
    let twins = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for twin in twins.chars().filter(|it| *it != last.1) {
        let token = format!("{}{twin}", last.0);

        let refused = principal(&policy, bearer(&token)).expect_err("refused");

        let expected = [Refusal::SignatureEncoding, Refusal::Signature];
        assert!(expected.contains(&refused), "{twin}");
    }
}

trait PopChar {
    fn pop_char(&self) -> (String, char);
}

impl PopChar for String {
    fn pop_char(&self) -> (String, char) {
        let mut rest = self.clone();
        let last = rest.pop().expect("a character");
        (rest, last)
    }
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let header = signer.header().to_string();
    let end = NOW + 300;
    for claims in [
        format!("{{\"iss\":\"{ISSUER}\",\"sub\":\"jason\",\"sub\":\"admin\",\"exp\":{end}}}"),
        format!("{{\"iss\":\"{ISSUER}\",\"exp\":1,\"exp\":{end}}}"),
        format!("{{\"iss\":\"evil\",\"is\\u0073\":\"{ISSUER}\",\"exp\":{end}}}"),
    ] {
        let refused = principal(&policy, bearer(&signer.sign_texts(&header, &claims)));
        assert_eq!(refused, Err(Refusal::PayloadJson), "{claims}");
    }
    let id = &signer.id;
    let twice = format!("{{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"{id}\"}}");
    let refused = principal(
        &policy,
        bearer(&signer.sign_texts(&twice, &claims().to_string())),
    );
    assert_eq!(refused, Err(Refusal::HeaderJson));
}

#[test]
fn a_signature_of_zeros_is_none() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let good = signer.sign(&claims());
    let (signed, _) = good.rsplit_once('.').expect("a signature");
    for bytes in [vec![0; 64], vec![0; 1], vec![0xff; 64], vec![0; 10_000]] {
        let token = format!("{signed}.{}", encoded(bytes));
        assert_eq!(principal(&policy, bearer(&token)), Err(Refusal::Signature));
    }
}

#[test]
fn more_tokens_than_anybody_needs_are_not_looked_at() {
    let signer = Signer::es256();
    let policy = trusting(&signer);
    let line = format!("Bearer {}", signer.sign(&claims()));
    let many = vec![("authorization", line.as_str()); 100];

    assert_eq!(
        principal(&policy, request("/", &many)),
        Err(Refusal::TooMany)
    );
}

static TRUSTED: LazyLock<(Signer, String)> = LazyLock::new(|| {
    let signer = Signer::es256();
    let token = signer.sign(&claims());
    (signer, token)
});

proptest! {
    #[test]
    fn no_change_of_a_token_is_valid(
        at in any::<prop::sample::Index>(),
        byte in "[A-Za-z0-9_.=-]",
        kind in 0..4_u8,
    ) {
        let (signer, good) = &*TRUSTED;
        let at = at.index(good.len());
        let mut token = good.clone();
        match kind {
            0 => token.replace_range(at..=at, &byte),
            1 => token.insert_str(at, &byte),
            2 => drop(token.remove(at)),
            _ => token.truncate(at),
        }
        prop_assume!(token != *good);

        let refused = principal(&trusting(signer), bearer(&token));

        prop_assert!(refused.is_err(), "{token}");
    }

    #[test]
    fn no_text_breaks_the_reader(token in "[ -~]{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        let policy = trusting(&TRUSTED.0);
        for token in [token, parts.join(".")] {
            let lines = [("authorization", format!("Bearer {token}"))];
            let lines = lines.each_ref().map(|(name, line)| (*name, line.as_str()));
            let admitted = principal(&policy, request("/", &lines));
            prop_assert!(!matches!(admitted, Ok(Some(_))));
        }
    }
}
