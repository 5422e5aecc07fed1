//! What ties a request to an endpoint: a header, a cookie, a query parameter or the caller's address.

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::table::split::{cookie, stable_hash};

/// Where the key of a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The first line of a header.
    Header(HeaderName),
    /// A cookie.
    Cookie(HashCookie),
    /// The address of the caller.
    SourceIp,
    /// The first value of a query parameter, as written.
    Query(Box<str>),
    /// Host and port that the request names.
    Authority,
    /// Path and query.
    Target,
}

/// A cookie that ties a user to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: Box<str>,
    /// What follows the value in the `set-cookie` line of a user without, such as `; HttpOnly`. If it
    /// is unset no cookie is made.
    pub attributes: Option<Box<str>>,
}

/// What a key is looked for in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed<'r> {
    pub(crate) headers: &'r HeaderMap,
    /// Host and port.
    pub(crate) authority: &'r [u8],
    /// Path and query.
    pub(crate) target: &'r str,
    /// Address of the caller.
    pub(crate) source: Option<IpAddr>,
}

// === impl HashKey ===

impl HashKey {
    /// The key of a request, or `None` when it has none.
    pub(crate) fn of(&self, request: &Keyed<'_>) -> Option<u64> {
        match self {
            Self::Header(name) => {
                let value = request.headers.get(name)?;
                Some(stable_hash(value.as_bytes()))
            }
            Self::Cookie(of) => {
                let value = cookie(request.headers, &of.name)?;
                // An empty one would tie all who have it to one endpoint.
                (!value.is_empty()).then(|| hash_of_cookie(value))
            }
            Self::SourceIp => match request.source?.to_canonical() {
                IpAddr::V4(ip) => Some(stable_hash(&ip.octets())),
                IpAddr::V6(ip) => Some(stable_hash(&ip.octets())),
            },
            Self::Query(name) => {
                let (_, query) = request.target.split_once('?')?;
                let value = query.split('&').find_map(|parameter| {
                    let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                    (key == &**name).then_some(value)
                });
                value.map(|value| stable_hash(value.as_bytes()))
            }
            Self::Authority => Some(stable_hash(request.authority)),
            Self::Target => Some(stable_hash(request.target.as_bytes())),
        }
    }

    /// The key of a request that had none and gets one, and the `set-cookie` line that tells it to the
    /// user; `random` becomes its value.
    pub(crate) fn make(&self, random: u64) -> Option<(u64, HeaderValue)> {
        let Self::Cookie(HashCookie {
            name,
            attributes: Some(attributes),
        }) = self
        else {
            return None;
        };
        let value = format!("{random:016x}");
        let line = format!("{name}=\"{value}\"{attributes}").parse().ok()?;
        Some((stable_hash(value.as_bytes()), line))
    }

    /// Whether headers that the proxy adds can be the key.
    pub(crate) fn looks_at_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::Cookie(_) | Self::SourceIp | Self::Query(_) | Self::Authority | Self::Target => {
                false
            }
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(cookie) => write!(f, "cookie {}", cookie.name),
            Self::SourceIp => f.write_str("source address"),
            Self::Query(name) => write!(f, "query parameter {name}"),
            Self::Authority => f.write_str("authority"),
            Self::Target => f.write_str("path and query"),
        }
    }
}

/// Quotes around a value are ours, and some clients leave them out.
fn hash_of_cookie(value: &[u8]) -> u64 {
    let inner = value.strip_prefix(b"\"");
    let inner = inner.and_then(|inner| inner.strip_suffix(b"\""));
    stable_hash(inner.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::header;

    fn of(key: &HashKey, target: &str, cookies: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("alice"));
        headers.insert(header::COOKIE, cookies.parse().expect("a header value"));
        key.of(&Keyed {
            headers: &headers,
            authority: b"shop.test",
            target,
            source: Some([10, 0, 0, 1].into()),
        })
    }

    fn cookie_with(attributes: Option<&str>) -> HashKey {
        HashKey::Cookie(HashCookie {
            name: "sess".into(),
            attributes: attributes.map(Box::from),
        })
    }

    #[test]
    fn a_key_is_found_where_it_is_said_to_be() {
        let header = |name| HashKey::Header(HeaderName::from_static(name));
        let query = |name: &str| HashKey::Query(name.into());
        let cookie = cookie_with(None);
        let alice = Some(stable_hash(b"alice"));

        assert_eq!(of(&header("x-user"), "/", ""), alice);
        assert_eq!(of(&header("x-other"), "/", ""), None);
        assert_eq!(
            of(&query("user"), "/p?users=x&user=alice&user=bob", ""),
            alice
        );
        assert_eq!(of(&query("user"), "/p?user", ""), Some(stable_hash(b"")));
        assert_eq!(of(&query("user"), "/user=alice", ""), None);
        assert_eq!(of(&cookie, "/", "a=1; sess=alice"), alice);
        assert_eq!(
            of(&cookie, "/", "sess=\"alice\""),
            alice,
            "quotes are not part of it"
        );
        assert_eq!(of(&cookie, "/", "session=alice"), None);
        let authority = of(&HashKey::Authority, "/", "");
        assert_eq!(authority, Some(stable_hash(b"shop.test")));
        let target = of(&HashKey::Target, "/p?q", "");
        assert_eq!(target, Some(stable_hash(b"/p?q")));
        let source = of(&HashKey::SourceIp, "/", "");
        assert_eq!(source, Some(stable_hash(&[10, 0, 0, 1])));
    }

    #[test]
    fn who_sends_a_cookie_back_is_known_by_it() {
        let (key, line) = cookie_with(Some("; HttpOnly"))
            .make(0xabc)
            .expect("a cookie");

        assert_eq!(line, "sess=\"0000000000000abc\"; HttpOnly");
        let again = of(&cookie_with(None), "/", "sess=\"0000000000000abc\"");
        assert_eq!(again, Some(key));
        assert_eq!(cookie_with(None).make(1), None);
        assert_eq!(HashKey::SourceIp.make(1), None);
    }
}
