//! Where tokens are in a request: found there, and taken away from there.

use std::borrow::Cow;

use config::resource::request_authentication::JwtRule;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::request::route::path_and_query;
use crate::upstream::Outgoing;

/// What stands before a token where nothing else is said (RFC 6750 §2.1).
const BEARER: &str = "Bearer ";
/// The query parameter that may hold a token where nothing is said (RFC 6750 §2.3).
const PARAMETER: &str = "access_token";
/// What stands in the log for a token.
const CONCEALED: &str = "-";

/// A place that may hold a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A header, in which a prefix stands before the token.
    Header(HeaderName, Box<str>),
    /// A query parameter.
    Parameter(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// The places of a rule: those that it names, and only with none named those that everybody uses.
pub(super) fn of_rule(rule: &JwtRule) -> Vec<Place> {
    let headers = rule.from_headers.iter().filter_map(|header| {
        let name: HeaderName = header.name.parse().ok()?;
        let prefix = header.prefix.as_deref().unwrap_or_default();
        Some(Place::Header(name, prefix.into()))
    });
    let parameters = rule.from_params.iter();
    let parameters = parameters.map(|name| Place::Parameter(name.as_str().into()));
    let cookies = rule.from_cookies.iter();
    let cookies = cookies.map(|name| Place::Cookie(name.as_str().into()));
    let places: Vec<Place> = headers.chain(parameters).chain(cookies).collect();
    match places.is_empty() {
        true => vec![
            Place::Header(header::AUTHORIZATION, BEARER.into()),
            Place::Parameter(PARAMETER.into()),
        ],
        false => places,
    }
}

// === impl Place ===

impl Place {
    /// Every token at this place.
    pub(super) fn tokens<'r>(&self, outgoing: &'r Outgoing) -> Vec<Cow<'r, [u8]>> {
        let headers = &outgoing.head.headers;
        match self {
            Self::Header(name, prefix) => {
                let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let tokens = lines.filter_map(|line| behind(line, prefix.as_bytes()));
                tokens.map(Cow::Borrowed).collect()
            }
            Self::Parameter(name) => {
                let (_, query) = path_and_query(outgoing);
                let own = query
                    .into_iter()
                    .flat_map(parameters)
                    .filter(|it| it.is(name));
                own.map(|it| decoded(it.value)).collect()
            }
            Self::Cookie(name) => {
                let lines = headers.get_all(header::COOKIE).iter();
                let own = lines.flat_map(|line| cookies(line.as_bytes()));
                let own = own.filter_map(|pair| value_of(pair, name));
                own.map(Cow::Borrowed).collect()
            }
        }
    }

    /// Takes every token away from this place, so that who is behind us does not get it.
    pub(super) fn clear(&self, outgoing: &mut Outgoing) {
        match self {
            Self::Header(name, _) => {
                outgoing.head.headers.remove(name);
            }
            Self::Parameter(name) => {
                let (path, query) = path_and_query(outgoing);
                let Some(query) = query else {
                    return;
                };
                let kept: Vec<&str> = parameters(query)
                    .filter(|it| !it.is(name))
                    .map(|it| it.whole)
                    .collect();
                let target = match kept.is_empty() {
                    true => path.to_owned(),
                    false => format!("{path}?{}", kept.join("&")),
                };
                outgoing.rewritten = Some(target);
            }
            Self::Cookie(name) => clear_cookie(&mut outgoing.head.headers, name),
        }
    }

    /// The target of a request without the token that it may have here, for the log; none if it has
    /// none.
    pub(super) fn conceal(&self, target: &str) -> Option<String> {
        let Self::Parameter(name) = self else {
            return None;
        };
        let (path, query) = target.split_once('?')?;
        if !parameters(query).any(|it| it.is(name)) {
            return None;
        }
        let shown: Vec<Cow<'_, str>> = parameters(query)
            .map(|it| match it.is(name) {
                true => format!("{name}={CONCEALED}").into(),
                false => it.whole.into(),
            })
            .collect();
        Some(format!("{path}?{}", shown.join("&")))
    }
}

/// A query parameter.
struct Parameter<'q> {
    whole: &'q str,
    name: &'q str,
    value: &'q str,
}

fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query.split('&').map(|whole| {
        let (name, value) = whole.split_once('=').unwrap_or((whole, ""));
        Parameter { whole, name, value }
    })
}

// === impl Parameter ===

impl Parameter<'_> {
    fn is(&self, name: &str) -> bool {
        *decoded(self.name) == *name.as_bytes()
    }
}

/// A name or value of a query as the application reads it (`application/x-www-form-urlencoded`).
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2)));
        match (byte, pair) {
            (b'%', Some((high, low))) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(decoded)
}

/// What stands in a header's line behind a prefix, in any case and wherever it stands: applications
/// take `bearer` for `Bearer`, and what they would take for a token must be one. None if there is no
/// such prefix.
fn behind<'l>(line: &'l [u8], prefix: &[u8]) -> Option<&'l [u8]> {
    if prefix.is_empty() {
        return Some(line);
    }
    let mut windows = line.windows(prefix.len());
    let at = windows.position(|window| window.eq_ignore_ascii_case(prefix))?;
    Some(line[at + prefix.len()..].trim_ascii())
}

fn cookies(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}

/// The value of a cookie of this name, without the quotes that may be around it.
fn value_of<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    if *pair[..at].trim_ascii() != *name.as_bytes() {
        return None;
    }
    let value = pair[at + 1..].trim_ascii();
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|it| it.strip_suffix(b"\""));
    Some(inner.unwrap_or(value))
}

fn clear_cookie(headers: &mut HeaderMap, name: &str) {
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        let pairs = cookies(line.as_bytes());
        let kept: Vec<&[u8]> = pairs
            .filter(|pair| value_of(pair, name).is_none())
            .collect();
        if !kept.is_empty()
            && let Ok(line) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        {
            headers.append(header::COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests;
