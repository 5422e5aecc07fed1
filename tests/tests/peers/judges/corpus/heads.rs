//! Headers that speak of the connection or of the host, and heads that are too large.

use super::{BAD, Expected, Message, framed, headed, message, understood};

/// Beyond what anybody takes.
const TOO_LARGE: Expected = Expected::Refused(&[400, 414, 431]);
const LARGE_BYTES: usize = 100_000;
const MANY_LINES: usize = 5_000;

/// Values of `Host` that name none, or more than one.
const HOSTS: [&str; 14] = [
    "a.test, b.test",
    "a.test b.test",
    "user@judge.test",
    "user:word@judge.test",
    "judge.test/path",
    "judge.test?query",
    "judge.test#part",
    "judge.test\\x",
    "judge.test:80:80",
    "judge.test:abc",
    "judge.test:-1",
    "[::1",
    "http://judge.test",
    "judge.test\u{1}",
];

pub(super) fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    let mut host = |lines: String, expected| {
        let head = format!("GET /host HTTP/1.1\r\n{lines}\r\n");
        messages.push(message(&head, head.clone().into(), expected));
    };
    for value in HOSTS {
        host(format!("Host: {value}\r\n"), BAD);
    }
    host(String::new(), BAD);
    host("Host: judge.test\r\nHost: judge.test\r\n".to_owned(), BAD);
    host("Host: judge.test\r\nHost: other.test\r\n".to_owned(), BAD);
    host("Host: judge.test\r\nhOST: other.test\r\n".to_owned(), BAD);
    host("Host : judge.test\r\n".to_owned(), BAD);
    host("X: a\r\n Host: judge.test\r\n".to_owned(), BAD);
    for value in [
        "judge.test:",
        "judge.test:99999",
        "judge.test.",
        "[::1]:80",
        "JUDGE.test",
    ] {
        host(format!("Host: {value}\r\n"), Expected::Alike);
    }
    host("Host: \r\n".to_owned(), Expected::Tolerated);
    messages.extend(nominated());
    let long = format!("X-Long: {}\r\n", "x".repeat(LARGE_BYTES));
    messages.push(headed(long, TOO_LARGE));
    let name = format!("X-{}: a\r\n", "x".repeat(LARGE_BYTES));
    messages.push(headed(name, TOO_LARGE));
    messages.push(headed("X: a\r\n".repeat(MANY_LINES), TOO_LARGE));
    let target = format!(
        "GET /{} HTTP/1.1\r\nHost: judge.test\r\n\r\n",
        "x".repeat(LARGE_BYTES)
    );
    messages.push(message("long target", target.into(), TOO_LARGE));
    messages
}

/// `Connection` that names headers which are not of the connection, and other hops.
fn nominated() -> Vec<Message> {
    let mut messages = Vec::new();
    for named in [
        "Content-Length",
        "Host, Content-Length",
        "Host",
        "Transfer-Encoding",
    ] {
        let lines = format!("Connection: {named}\r\nContent-Length: 3\r\n");
        messages.push(framed(lines, "abc", Expected::Alike));
    }
    let chunked = "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n";
    messages.push(framed(chunked, "3\r\nabc\r\n0\r\n\r\n", Expected::Alike));
    for lines in [
        "Connection: X-Secret\r\nX-Secret: a\r\n",
        "Connection: keep-alive, , X\r\nX: a\r\n",
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n",
        "TE: trailers\r\nConnection: TE\r\n",
    ] {
        messages.push(headed(lines, understood("GET", "/line", "")));
    }
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: unheard-of/1\r\n",
    ] {
        messages.push(headed(lines, Expected::Alike));
    }
    messages
}
