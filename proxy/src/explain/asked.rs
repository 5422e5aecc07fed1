//! A request that is only thought of, and who would make it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use config::spiffe::SpiffeId;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::request::path::Normalization;
use crate::request::{Arrived, Downstream};
use crate::table::Listener;
use crate::table::host::split_authority;
use crate::tls::Security;

/// Port of a caller that is only thought of.
const CALLER_PORT: u16 = 40_000;

/// A request that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Where it is sent.
    pub url: Url,
    /// Its headers; a `host` among them takes the place of the URL's.
    pub headers: HeaderMap,
    /// Address of the caller, where it is known.
    pub source: Option<IpAddr>,
    /// Whom the peer of the listener proves to be, if it proves anything.
    pub principal: Option<SpiffeId>,
    /// How far the proxy brings paths to normal form.
    pub normalization: Normalization,
}

/// An absolute URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub secure: bool,
    /// Host and port as written.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

// === impl Asked ===

impl Asked {
    /// The host that is asked for, without its port.
    pub(crate) fn host(&self) -> &str {
        let written = self.headers.get(header::HOST);
        let written = written.and_then(|host| host.to_str().ok());
        written.map_or_else(|| self.url.host(), |host| split_authority(host).0)
    }

    /// The request as it would come off a connection.
    pub(crate) fn arrived(&self) -> Arrived {
        let mut head = Request::new(()).into_parts().0;
        head.method = self.method.clone();
        let target = match self.method == Method::CONNECT {
            true => &self.url.authority,
            false => &self.url.target,
        };
        // Both parsed as parts of the URL.
        head.uri = target.parse().unwrap_or_default();
        head.headers = self.headers.clone();
        if let Ok(host) = HeaderValue::from_str(&self.url.authority) {
            head.headers.entry(header::HOST).or_insert(host);
        }
        Arrived {
            head: Box::new(head),
            body: None,
            spelling: None,
            interim: None,
            upgrade: None,
        }
    }

    /// The connection on which it would come to `listener`.
    pub(crate) fn downstream(&self, listener: &Listener) -> Downstream {
        let peer = self.source.map(|ip| SocketAddr::new(ip, CALLER_PORT));
        let mut downstream = Downstream::new(listener.bind.clone(), peer, None);
        if self.url.secure {
            let name = self.url.host().to_ascii_lowercase();
            downstream.security = Some(Security::unproved(name.into()));
        }
        downstream
    }
}

// === impl Url ===

impl Url {
    /// The host without its port.
    pub fn host(&self) -> &str {
        split_authority(&self.authority).0
    }

    /// The port, if need be that of the scheme.
    pub fn port(&self) -> u16 {
        let written = split_authority(&self.authority).1;
        written.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be such as \"http://reviews:9080/path\", got \"{text}\"");
        let complete = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri: Uri = complete.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong()),
        };
        let authority = uri.authority().map(|it| it.as_str()).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(wrong());
        }
        let target = uri.path_and_query().map_or("/", |it| it.as_str());
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.target)
    }
}

/// Reads `name: value`.
///
/// # Errors
///
/// Says what would be right.
pub(crate) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("must be \"name: value\", got \"{text}\""))?;
    Ok((header_name(name.trim())?, header_value(value.trim())?))
}

/// Reads the name of a header.
///
/// # Errors
///
/// Says what would be right.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, String> {
    let wrong = |_| format!("must be the name of a header, got \"{text}\"");
    text.parse().map_err(wrong)
}

/// Reads the value of a header.
///
/// # Errors
///
/// Says what would be right.
pub(crate) fn header_value(text: &str) -> Result<HeaderValue, String> {
    let wrong = |_| "must be the value of a header: no line breaks or control characters";
    HeaderValue::from_str(text).map_err(|error| wrong(error).to_owned())
}

/// Reads an identity, with or without its `spiffe://`.
///
/// # Errors
///
/// Says what would be right.
pub(crate) fn principal(text: &str) -> Result<SpiffeId, String> {
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("spiffe://{text}"),
    };
    SpiffeId::parse(&whole).map_err(|error| format!("{error}, got \"{text}\""))
}

/// Reads a method.
///
/// # Errors
///
/// Says what would be right.
pub(crate) fn method(text: &str) -> Result<Method, String> {
    text.parse()
        .map_err(|_| format!("must be a method such as GET, got \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_with_and_without_scheme_and_path() {
        for (text, secure, authority, target, port) in [
            (
                "http://reviews:9080/a?b=c",
                false,
                "reviews:9080",
                "/a?b=c",
                9080,
            ),
            ("reviews:9080/a", false, "reviews:9080", "/a", 9080),
            ("reviews", false, "reviews", "/", 80),
            ("https://shop.example", true, "shop.example", "/", 443),
            ("https://[::1]:8443?x", true, "[::1]:8443", "/?x", 8443),
        ] {
            let url: Url = text.parse().expect(text);

            assert_eq!(url.secure, secure, "{text}");
            assert_eq!(url.authority, authority, "{text}");
            assert_eq!(url.target, target, "{text}");
            assert_eq!(url.port(), port, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_http_is_refused() {
        for text in ["", "/path", "ftp://a/", "http://", "http://u@a/", "a b"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_header_takes_the_place_of_the_host_in_the_url() {
        let asked = |headers| Asked {
            method: Method::GET,
            url: "http://a:81/x".parse().expect("a URL"),
            headers,
            source: None,
            principal: None,
            normalization: Normalization::default(),
        };
        let other: HeaderMap = [(header::HOST, HeaderValue::from_static("b"))]
            .into_iter()
            .collect();

        assert_eq!(
            asked(HeaderMap::new()).arrived().head.headers["host"],
            "a:81"
        );
        assert_eq!(asked(other.clone()).host(), "b");
        assert_eq!(asked(other).arrived().head.headers["host"], "b");
    }
}
