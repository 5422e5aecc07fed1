//! Values of flags: what parses can be used, and what does not says what could.

use std::time::Duration;

use authority::leaf::{LEAF_LIFETIME_MAX, LEAF_LIFETIME_MIN};
use tracing_subscriber::EnvFilter;

/// Most characters of a label of DNS, as namespaces are.
const LABEL_CHARS_MAX: usize = 63;
/// Most characters of a name of DNS, as service accounts have.
const NAME_CHARS_MAX: usize = 253;
/// Shortest silence of the API server that can count as one: a busy server answers late.
const SILENCE_MIN: Duration = Duration::from_secs(10);
/// Longest one: for as long a replica may tell proxies that come what is not so any more.
const SILENCE_MAX: Duration = Duration::from_secs(3_600);
/// Most characters of the audience of tokens.
const AUDIENCE_CHARS_MAX: usize = 256;

pub(super) fn label(text: &str) -> Result<String, String> {
    match text.len() <= LABEL_CHARS_MAX && is_label(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be 1 to {LABEL_CHARS_MAX} lower-case letters, digits and inner hyphens"
        )),
    }
}

pub(super) fn account(text: &str) -> Result<String, String> {
    match text.len() <= NAME_CHARS_MAX && text.split('.').all(is_label) {
        true => Ok(text.to_owned()),
        false => Err("must be lower-case letters, digits and inner hyphens and dots".to_owned()),
    }
}

pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    match config::spiffe::is_trust_domain(text) {
        true => Ok(text.to_owned()),
        false => Err("must be a trust domain of lower-case letters, digits and .-_".to_owned()),
    }
}

pub(super) fn audience(text: &str) -> Result<String, String> {
    let printable = text.chars().all(|c| c.is_ascii_graphic());
    match printable && (1..=AUDIENCE_CHARS_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be 1 to {AUDIENCE_CHARS_MAX} printable characters without spaces"
        )),
    }
}

/// How long a certificate or a token may be valid.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let parsed: Result<config::value::Duration, _> = text.parse();
    let lifetime = parsed.map_err(|error| error.to_string())?.get();
    match (LEAF_LIFETIME_MIN..=LEAF_LIFETIME_MAX).contains(&lifetime) {
        true => Ok(lifetime),
        false => Err("must be 1m to 2160h (90 days)".to_owned()),
    }
}

/// How long the API server may be silent.
pub(super) fn silence(text: &str) -> Result<Duration, String> {
    let parsed: Result<config::value::Duration, _> = text.parse();
    let silence = parsed.map_err(|error| error.to_string())?.get();
    match (SILENCE_MIN..=SILENCE_MAX).contains(&silence) {
        true => Ok(silence),
        false => Err("must be 10s to 1h".to_owned()),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "must be such as \"info\" or \"info,control=debug\": {error}"
        )),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
