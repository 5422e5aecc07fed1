//! What must hold of tokens, whatever a client sends.
//!
//! `fuzz/keys.json` has a key of each kind, whose private halves nobody has any more, and
//! `fuzz/tokens.txt` all that was ever signed by them: of what a client writes itself nothing else may be
//! valid. Beside them stands the key of a signer who signs anything, so that also what is behind the
//! check of signatures is tried.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Request};
use serde_json::{Value, json};

use super::*;
use crate::body::Body;
use crate::request::headers::OwnHeaders;
use crate::upstream::Sending;

const KEYS: &str = include_str!("fuzz/keys.json");
const TOKENS: &str = include_str!("fuzz/tokens.txt");
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "reviews";
/// A time in the life of all these tokens, in seconds since 1970.
const NOW: u64 = 1_900_000_000;
/// How far a time may be off, with the second that a fraction may add.
const SLACK_SECS: f64 = 61.0;
/// The header that holds all claims of a valid token, and only of one.
const PAYLOAD: &str = "x-payload";

/// What tokens are judged by.
struct Fixture {
    keys: Arc<Keys>,
    policy: Authentication,
    signer: Ed25519KeyPair,
}

thread_local! {
    static FIXTURE: Fixture = Fixture::new();
}

/// Judges what the first byte says: a token, a line of a header, a query, cookies, or header and claims
/// of a token, in two lines, that the signer signs.
pub(crate) fn token(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    FIXTURE.with(|fixture| match kind % 8 {
        0 => fixture.compact(rest),
        1 => fixture.in_header("authorization", rest),
        2 => fixture.in_query(rest),
        3 => fixture.in_header("cookie", rest),
        _ => fixture.signed(rest),
    });
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        let signer = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let mut keys: Value = serde_json::from_str(KEYS).expect("keys");
        let public = URL_SAFE_NO_PAD.encode(signer.public_key());
        let own = json!({"kty": "OKP", "crv": "Ed25519", "kid": "signer", "x": public});
        keys["keys"].as_array_mut().expect("a list").push(own);
        let keys = Keys::parse(keys.to_string().as_bytes()).expect("keys");
        let keys = Arc::new(keys);
        let rule = json!({
            "issuer": ISSUER,
            "audiences": [AUDIENCE, "https://ratings/"],
            "fromHeaders": [{"name": "authorization", "prefix": "Bearer "}],
            "fromParams": ["access_token"],
            "fromCookies": ["token"],
            "outputPayloadToHeader": PAYLOAD,
            "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
            "spaceDelimitedClaims": ["groups"],
        });
        let rule: JwtRule = serde_json::from_value(rule).expect("a rule");
        let rules = [(&rule, KeySource::Written(Arc::clone(&keys)))];
        Self {
            policy: Authentication::new(rules.into_iter()).expect("rules"),
            keys,
            signer,
        }
    }

    /// A token that the keys find valid was signed by them.
    fn compact(&self, token: &[u8]) {
        let Ok(read) = compact::read(token) else {
            return;
        };
        let id = read.key_id.as_deref();
        let checked = self
            .keys
            .check(id, read.algorithm, read.signed, &read.signature);
        assert!(
            checked.is_err() || is_genuine(read.signed),
            "{checked:?} for {read:?}"
        );
    }

    fn in_header(&self, name: &'static str, line: &[u8]) {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        let mut outgoing = request("/".to_owned());
        outgoing.head.headers.insert(name, value);
        if self.admits(&mut outgoing) {
            assert!(has_genuine(line), "{}", String::from_utf8_lossy(line));
        }
    }

    fn in_query(&self, query: &[u8]) {
        // What is read from a request has no others.
        let Ok(query) = std::str::from_utf8(query) else {
            return;
        };
        if query.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return;
        }
        let mut outgoing = request(format!("/?{query}"));
        let is_written_plainly = !query.contains(['%', '+']);
        if self.admits(&mut outgoing) && is_written_plainly {
            assert!(has_genuine(query.as_bytes()), "{query}");
        }
    }

    /// Whether a request is from somebody. The claims of nobody go on to nobody.
    fn admits(&self, outgoing: &mut Outgoing) -> bool {
        let forged = HeaderValue::from_static("forged");
        outgoing.head.headers.insert(PAYLOAD, forged);
        let at = UNIX_EPOCH + Duration::from_secs(NOW);
        match self.policy.examine(outgoing, &Memory::default(), at) {
            Ok(()) => {}
            Err(refusal) => {
                let _ = self.policy.rejection(refusal, "https", outgoing);
                return false;
            }
        }
        let shown: Vec<&HeaderValue> = outgoing.head.headers.get_all(PAYLOAD).iter().collect();
        match &outgoing.token {
            Some(token) => assert_eq!(shown, [token.payload().encoded()]),
            None => assert!(shown.is_empty(), "{shown:?}"),
        }
        outgoing.token.is_some()
    }

    /// A token that is signed is valid only if it says what it must.
    fn signed(&self, lines: &[u8]) {
        let cut = lines.iter().position(|byte| *byte == b'\n');
        let (header, claims) = lines.split_at(cut.unwrap_or(lines.len()));
        let claims = claims.strip_prefix(b"\n").unwrap_or(claims);
        let token = self.sign(header, claims);
        let mut outgoing = request("/".to_owned());
        let Ok(line) = HeaderValue::from_str(&format!("Bearer {token}")) else {
            return;
        };
        outgoing.head.headers.insert("authorization", line);
        if self.admits(&mut outgoing) {
            let shown = String::from_utf8_lossy(lines);
            assert!(is_sound(header, claims), "{shown}");
            let gone = !outgoing.head.headers.contains_key("authorization");
            assert!(gone, "the token goes on: {shown}");
        }
    }

    fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.signer.sign(signed.as_bytes());
        format!("{signed}.{}", encoded(signature.as_ref()))
    }
}

/// What was signed of each genuine token.
fn genuine() -> impl Iterator<Item = &'static str> {
    TOKENS
        .lines()
        .filter_map(|line| line.rsplit_once('.'))
        .map(|(signed, _)| signed)
}

fn is_genuine(signed: &[u8]) -> bool {
    genuine().any(|it| it.as_bytes() == signed)
}

fn has_genuine(text: &[u8]) -> bool {
    genuine().any(|it| memchr::memmem::find(text, it.as_bytes()).is_some())
}

/// Whether a token of the signer may be valid, by the plainest means.
fn is_sound(header: &[u8], claims: &[u8]) -> bool {
    let json = |text| serde_json::from_slice::<Value>(text);
    let (Ok(header), Ok(claims)) = (json(header), json(claims)) else {
        return false;
    };
    let is_audience = |it: &Value| {
        let schemes = ["", "http://", "https://"].into_iter();
        let mut whole = schemes.flat_map(|scheme| {
            ["reviews", "reviews/", "ratings", "ratings/"].map(|name| format!("{scheme}{name}"))
        });
        it.as_str().is_some_and(|it| whole.any(|name| name == it))
    };
    let is_for_us = match &claims["aud"] {
        Value::Array(items) => items.iter().any(is_audience),
        other => is_audience(other),
    };
    let holds = |name: &str, is: fn(f64, f64) -> bool| {
        let time = claims.get(name);
        time.is_none_or(|time| time.as_f64().is_some_and(|time| is(time, NOW as f64)))
    };
    let names = |name| header.get(name).map(Value::as_str);
    matches!(names("alg"), Some(Some("EdDSA" | "Ed25519")))
        && matches!(names("kid"), None | Some(Some("signer")))
        && header.get("crit").is_none()
        && claims.is_object()
        && claims["iss"] == ISSUER
        && is_for_us
        && holds("exp", |time, now| now - SLACK_SECS < time)
        && holds("nbf", |time, now| time < now + SLACK_SECS)
        && holds("iat", |time, now| time < now + SLACK_SECS)
}

fn request(target: String) -> Outgoing {
    Outgoing {
        head: Box::new(Request::new(()).into_parts().0),
        rewritten: Some(target),
        authority: HeaderValue::from_static("a.test"),
        own: OwnHeaders::default(),
        body: Body::Empty,
        spelling: None,
        interim: None,
        upgrade: None,
        token: None,
        sending: Sending::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what a client writes itself is taken for that of somebody.
    fn is_admitted(token: &str) -> bool {
        FIXTURE.with(|fixture| {
            let mut outgoing = request(format!("/?access_token={token}"));
            fixture.admits(&mut outgoing)
        })
    }

    #[test]
    fn what_was_signed_is_valid_by_every_algorithm_so_that_there_is_something_to_break() {
        assert_eq!(TOKENS.lines().count(), 10);
        for token in TOKENS.lines() {
            assert!(is_admitted(token), "{token}");
        }
        let lines = br#"{"alg":"EdDSA"}
{"iss":"https://issuer.example","aud":["a","http://ratings"],"exp":1900000000}"#;
        let (header, claims) = (&lines[..15], &lines[16..]);
        assert!(is_sound(header, claims));
        assert!(is_admitted(&FIXTURE.with(|it| it.sign(header, claims))));
    }

    #[test]
    fn a_token_with_anything_else_in_it_is_not_valid() {
        for token in TOKENS.lines() {
            let (signed, _) = token.rsplit_once('.').expect("a signature");
            for other in TOKENS.lines().filter(|it| *it != token) {
                let (_, signature) = other.rsplit_once('.').expect("a signature");
                assert!(!is_admitted(&format!("{signed}.{signature}")));
            }
        }
    }
}
