//! Request lines: methods, targets, versions, and the space between them.

use super::{BAD, Expected, Message, message, understood};

/// A version that is not spoken, or that is none.
const NO_VERSION: Expected = Expected::Refused(&[400, 505]);
/// A tunnel that no route allows.
const NO_TUNNEL: Expected = Expected::Refused(&[400, 403, 404, 405, 501]);

/// Lines that are none.
const INVALID: [&str; 40] = [
    "GET  HTTP/1.1",
    "GET HTTP/1.1",
    "GET",
    " / HTTP/1.1",
    " GET / HTTP/1.1",
    "\tGET / HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    "GET\t/ HTTP/1.1",
    "GET /\tHTTP/1.1",
    "GET\u{b}/ HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET / HTTP/1.1\t",
    "GET / HTTP/1.1 x",
    "GET /a b HTTP/1.1",
    "GET /a\tb HTTP/1.1",
    "GET /a\0b HTTP/1.1",
    "GET /a\u{1}b HTTP/1.1",
    "GET /a\u{7f}b HTTP/1.1",
    "GET /a#part HTTP/1.1",
    "GET a HTTP/1.1",
    "GET ?a HTTP/1.1",
    "GET judge.test:80 HTTP/1.1",
    "GET ///\u{1} HTTP/1.1",
    "GET http:// HTTP/1.1",
    "GET http:///a HTTP/1.1",
    "GET http:/a HTTP/1.1",
    "GET http://user@judge.test/ HTTP/1.1",
    "GET http://user:word@judge.test/ HTTP/1.1",
    "GET http://judge.test:abc/ HTTP/1.1",
    "GET http://judge.test\\@other.test/ HTTP/1.1",
    "GET javascript:a HTTP/1.1",
    "G\0T / HTTP/1.1",
    "G@T / HTTP/1.1",
    "(GET) / HTTP/1.1",
    "GET: / HTTP/1.1",
    "GET,/ HTTP/1.1",
    "G\u{e9}T / HTTP/1.1",
    "\u{0}GET / HTTP/1.1",
    "GET\0 / HTTP/1.1",
];

/// Versions that are not 1.0 or 1.1.
const VERSIONS: [&str; 17] = [
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/2",
    "HTTP/3.0",
    "HTTP/9.9",
    "HTTP/1",
    "HTTP/1.",
    "HTTP/.1",
    "HTTP/1.10",
    "HTTP/01.1",
    "HTTP/+1.1",
    "HTTP/1.1x",
    "HTTP/1,1",
    "HTTP 1.1",
    "http/1.1",
    "HTTPS/1.1",
    "ICY/1.1",
];

/// Targets that may pass, in whatever form, as long as all see the same.
const UNUSUAL: [&str; 15] = [
    "/a%00b",
    "/a%2fb",
    "/a\\b",
    "//a",
    "/a/../b",
    "/%2e%2e/b",
    "/../../b",
    "/a/..;/b",
    "/<>\"^`{|}",
    "/?a?b=c&&d",
    "http://judge.test",
    "http://judge.test?a",
    "http://other.test/a",
    "https://judge.test/a",
    "HTTP://JUDGE.test/a",
];

pub(super) fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    let mut add = |line: &str, expected| {
        let head = format!("{line}\r\nHost: judge.test\r\n\r\n");
        messages.push(message(line, head.into(), expected));
    };
    for line in INVALID {
        add(line, BAD);
    }
    for version in VERSIONS {
        add(&format!("GET /version {version}"), NO_VERSION);
    }
    for target in UNUSUAL {
        add(&format!("GET {target} HTTP/1.1"), Expected::Alike);
    }
    for line in ["OPTIONS * HTTP/1.1", "GET * HTTP/1.1"] {
        add(line, Expected::Alike);
    }
    for line in ["get / HTTP/1.1", "QWERTY / HTTP/1.1", "GET /a%zzb HTTP/1.1"] {
        add(line, Expected::Tolerated);
    }
    for target in [
        "judge.test:80",
        "/",
        "http://judge.test/",
        "*",
        "judge.test",
        "a@judge.test:80",
    ] {
        add(&format!("CONNECT {target} HTTP/1.1"), NO_TUNNEL);
    }
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "HEAD", "POST"] {
        add(
            &format!("{method} /plain?a=b HTTP/1.1"),
            understood(method, "/plain?a=b", ""),
        );
    }
    messages.push(message("HTTP/0.9", b"GET /\r\n".to_vec(), NO_VERSION));
    messages
}
