//! A token as it is written (RFC 7515 §7.1): read once, completely, and only in its one form.
//!
//! What a token says of keys beside the name of one (`jku`, `jwk`, `x5u`, `x5c`) is never looked at.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::refusal::Refusal;
use super::token::Payload;

/// Longest token that is looked at, in bytes. Those of large organisations have a few KiB.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far clocks may be apart, in seconds.
const LEEWAY_SECS: u64 = 60;
/// Latest time that is one, in seconds: beyond it numbers of JSON are not exact.
const SECS_MAX: f64 = 9_007_199_254_740_992.0;

/// A token whose signature has not been checked.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// What is signed.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    pub(super) statement: Statement,
}

/// What a token says, and when it holds.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) payload: Rc<Payload>,
    times: Times,
}

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    expires: Option<u64>,
    not_before: Option<u64>,
    issued: Option<u64>,
}

/// Reads a token.
pub(super) fn read(token: &[u8]) -> Result<Compact<'_>, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Format);
    };
    if [header, payload, signature].iter().any(|it| it.is_empty()) {
        return Err(Refusal::Format);
    }
    let mapping = |part: &[u8], encoding, json| match config::json::parse(&decode(part, encoding)?)
    {
        Ok(Value::Object(map)) => Ok(map),
        Ok(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | Err(_) => Err(json),
    };
    let header_map = mapping(header, Refusal::HeaderEncoding, Refusal::HeaderJson)?;
    let (algorithm, key_id) = chosen(&header_map)?;
    let claims = mapping(payload, Refusal::PayloadEncoding, Refusal::PayloadJson)?;
    let times = check_claims(&claims)?;
    let encoded = std::str::from_utf8(payload).map_err(|_| Refusal::PayloadEncoding)?;
    Ok(Compact {
        algorithm,
        key_id,
        signed: &token[..header.len() + 1 + payload.len()],
        signature: decode(signature, Refusal::SignatureEncoding)?,
        statement: Statement {
            payload: Rc::new(Payload::new(claims, encoded)),
            times,
        },
    })
}

/// Decodes base64url without padding, whose last character has no bits that nobody looks at.
fn decode(part: &[u8], refusal: Refusal) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| refusal)
}

/// The algorithm and the name of the key.
fn chosen(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Refusal> {
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(Refusal::NoAlgorithm);
    };
    let algorithm = Algorithm::named(algorithm).ok_or(Refusal::UnknownAlgorithm)?;
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(Refusal::KeyId),
    };
    Ok((algorithm, key_id))
}

/// Checks that the registered claims are of their types.
fn check_claims(claims: &Map<String, Value>) -> Result<Times, Refusal> {
    for (name, refusal) in [
        ("iss", Refusal::IssuerClaim),
        ("sub", Refusal::SubjectClaim),
    ] {
        if claims.get(name).is_some_and(|it| !it.is_string()) {
            return Err(refusal);
        }
    }
    let is_audience = match claims.get("aud") {
        None | Some(Value::String(_)) => true,
        Some(Value::Array(items)) => items.iter().all(Value::is_string),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => false,
    };
    if !is_audience {
        return Err(Refusal::AudienceClaim);
    }
    let time = |name, refusal| match claims.get(name) {
        None => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or(refusal),
    };
    Ok(Times {
        expires: time("exp", Refusal::ExpiryClaim)?,
        not_before: time("nbf", Refusal::NotBeforeClaim)?,
        issued: time("iat", Refusal::IssuedAtClaim)?,
    })
}

/// A time in whole seconds; a fraction of one is cut off.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = value.as_f64()?;
    // The conversion is exact within these bounds.
    (0.0..=SECS_MAX)
        .contains(&seconds)
        .then_some(seconds as u64)
}

// === impl Statement ===

impl Statement {
    /// Checks that it holds at `now`, in seconds since 1970.
    pub(super) fn check_time(&self, now: u64) -> Result<(), Refusal> {
        let Times {
            expires,
            not_before,
            issued,
        } = self.times;
        let latest = now.saturating_add(LEEWAY_SECS);
        if [not_before, issued]
            .into_iter()
            .flatten()
            .any(|it| it > latest)
        {
            return Err(Refusal::NotYetValid);
        }
        match expires {
            Some(end) if now > end.saturating_add(LEEWAY_SECS) => Err(Refusal::Expired),
            Some(_) | None => Ok(()),
        }
    }
}
