//! Answers with another location.

use config::resource::virtual_service::{HttpRedirect, RedirectPort};
use http::StatusCode;

use crate::table::host::split_authority;

/// A compiled `redirect`.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Status of the answer.
    pub status: StatusCode,
    scheme: Option<Box<str>>,
    authority: Option<Box<str>>,
    port: Option<Port>,
    path: Option<NewPath>,
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Number(u16),
    Default,
    Request,
}

#[derive(Debug, Clone)]
enum NewPath {
    Whole(Box<str>),
    Prefix(Box<str>),
}

/// What a redirect needs to know of the request.
#[derive(Debug, Clone, Copy)]
pub struct Original<'r> {
    /// `http` or `https`, as the client used it.
    pub scheme: &'r str,
    /// Authority as sent.
    pub authority: &'r str,
    /// Port that the request came to.
    pub port: u16,
    /// Path without query.
    pub path: &'r str,
    /// Query without `?`.
    pub query: Option<&'r str>,
    /// Length of the path's part that the rule matched.
    pub matched_len: usize,
}

// === impl Redirect ===

impl Redirect {
    /// Compiles a redirect.
    pub fn compile(written: &HttpRedirect) -> Self {
        let code = written.redirect_code.filter(|code| *code != 0);
        let code = code.and_then(|code| u16::try_from(code).ok());
        let text = |text: &Option<String>| -> Option<Box<str>> {
            text.as_deref()
                .filter(|text| !text.is_empty())
                .map(Into::into)
        };
        let number = written
            .port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0);
        let derived = || {
            written.derive_port.map(|derive| match derive {
                RedirectPort::FromProtocolDefault => Port::Default,
                RedirectPort::FromRequestPort => Port::Request,
            })
        };
        let whole = text(&written.uri).map(NewPath::Whole);
        Self {
            status: code
                .and_then(|code| StatusCode::from_u16(code).ok())
                .unwrap_or(StatusCode::MOVED_PERMANENTLY),
            scheme: text(&written.scheme),
            authority: text(&written.authority),
            port: number.map(Port::Number).or_else(derived),
            path: whole.or_else(|| text(&written.prefix_rewrite).map(NewPath::Prefix)),
        }
    }

    /// A redirect of plain HTTP to https on the same host (`tls.httpsRedirect` of a gateway).
    pub fn to_https() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: Some("https".into()),
            authority: None,
            port: None,
            path: None,
        }
    }

    /// The value of `location`.
    pub fn location(&self, original: Original<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(original.scheme);
        let authority = self.host_and_port(scheme, original);
        let path = match &self.path {
            None => original.path.to_owned(),
            // What is written without a slash still follows the authority.
            Some(NewPath::Whole(path)) if !path.starts_with('/') => format!("/{path}"),
            Some(NewPath::Whole(path)) => path.to_string(),
            Some(NewPath::Prefix(prefix)) => {
                let rest = original
                    .path
                    .get(original.matched_len..)
                    .unwrap_or_default();
                format!("{prefix}{rest}")
            }
        };
        match original.query {
            Some(query) if !path.contains('?') => format!("{scheme}://{authority}{path}?{query}"),
            _ => format!("{scheme}://{authority}{path}"),
        }
    }

    fn host_and_port(&self, scheme: &str, original: Original<'_>) -> String {
        let base = self.authority.as_deref().unwrap_or(original.authority);
        let (host, written_port) = split_authority(base);
        let default = if scheme == "https" { 443 } else { 80 };
        let port = match self.port {
            Some(Port::Number(number)) => Some(number),
            Some(Port::Default) => None,
            Some(Port::Request) => Some(original.port),
            // The default port of the scheme that is left behind means nothing to the new one.
            None => written_port.filter(|port| {
                self.authority.is_some()
                    || self.scheme.is_none()
                    || *port != if original.scheme == "https" { 443 } else { 80 }
            }),
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        match port {
            Some(port) if port != default => format!("{host}:{port}"),
            _ => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Original<'static> {
        Original {
            scheme: "http",
            authority: "a.example:8080",
            port: 8080,
            path: "/old/x",
            query: Some("q=1"),
            matched_len: 4,
        }
    }

    #[test]
    fn each_part_is_replaced_on_its_own() {
        let base = HttpRedirect::default;
        let some = |text: &str| Some(text.to_owned());
        for (written, expected) in [
            (
                HttpRedirect {
                    uri: some("/new"),
                    ..base()
                },
                "http://a.example:8080/new?q=1",
            ),
            (
                HttpRedirect {
                    uri: some("/new?z=2"),
                    ..base()
                },
                "http://a.example:8080/new?z=2",
            ),
            (
                HttpRedirect {
                    uri: some("new"),
                    ..base()
                },
                "http://a.example:8080/new?q=1",
            ),
            (
                HttpRedirect {
                    prefix_rewrite: some("/n"),
                    ..base()
                },
                "http://a.example:8080/n/x?q=1",
            ),
            (
                HttpRedirect {
                    authority: some("b"),
                    ..base()
                },
                "http://b/old/x?q=1",
            ),
            (
                HttpRedirect {
                    scheme: some("https"),
                    ..base()
                },
                "https://a.example:8080/old/x?q=1",
            ),
            (
                HttpRedirect {
                    port: Some(80),
                    ..base()
                },
                "http://a.example/old/x?q=1",
            ),
            (
                HttpRedirect {
                    port: Some(81),
                    ..base()
                },
                "http://a.example:81/old/x?q=1",
            ),
            (
                HttpRedirect {
                    authority: some("b"),
                    derive_port: Some(RedirectPort::FromRequestPort),
                    ..base()
                },
                "http://b:8080/old/x?q=1",
            ),
        ] {
            assert_eq!(Redirect::compile(&written).location(original()), expected);
        }
    }

    #[test]
    fn the_status_is_301_unless_said_otherwise() {
        let code = |redirect_code| {
            Redirect::compile(&HttpRedirect {
                redirect_code,
                ..HttpRedirect::default()
            })
            .status
        };

        assert_eq!(code(None), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(code(Some(0)), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(code(Some(308)), StatusCode::PERMANENT_REDIRECT);
    }
}
