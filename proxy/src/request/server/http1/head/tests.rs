//! Which heads are requests, what is read from them, and why others are refused.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Option<Head>, Malformed> {
    let mut buf = BytesMut::from(text.as_bytes());
    parse(&mut buf, &mut Vec::new(), &Limits::default())
}

fn head(text: &str) -> Head {
    match read(text) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn with(lines: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_head_is_taken_off_and_the_rest_stays() {
    let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET";
    let mut buf = BytesMut::from(text);

    let read = parse(&mut buf, &mut Vec::new(), &Limits::default());

    let head = read.expect("no error").expect("a whole head");
    assert_eq!(buf, "abcGET");
    assert_eq!(head.parts.method, Method::POST);
    assert_eq!(head.parts.uri, "/a?b");
    assert!(matches!(head.coding, Coding::Length(3)));
    assert!(head.keep_alive && !head.expects_continue);
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    use Malformed::{BareLineFeed, Coding, Framing, Host, Syntax};
    let lines = |lines: &str| with(lines);
    for (text, malformed) in [
        (
            lines("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            Framing,
        ),
        (
            lines("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
            Framing,
        ),
        (lines("Content-Length: 3\r\nContent-Length: 3\r\n"), Framing),
        (lines("Content-Length: 3\r\nContent-Length: 4\r\n"), Framing),
        (lines("Content-Length: 3, 3\r\n"), Framing),
        (lines("Content-Length: +3\r\n"), Framing),
        (lines("Content-Length: 0x3\r\n"), Framing),
        (lines("Content-Length: 3 3\r\n"), Framing),
        (lines("Content-Length: \r\n"), Framing),
        (lines("Content-Length: 99999999999999999999\r\n"), Framing),
        (
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Framing,
        ),
        (lines("Transfer-Encoding: gzip, chunked\r\n"), Coding),
        (lines("Transfer-Encoding: identity\r\n"), Coding),
        (lines("Transfer-Encoding: \r\n"), Coding),
        (lines("Transfer-Encoding: \x0bchunked\r\n"), Syntax),
        (lines("Transfer-Encoding: chunked;q=1\r\n"), Coding),
        (lines("Content-Length : 3\r\n"), Syntax),
        (lines("Content Length: 3\r\n"), Syntax),
        (lines("X: a\r\n b\r\n"), Syntax),
        (lines(" X: a\r\n"), Syntax),
        (lines("X: a\nY: b\r\n"), BareLineFeed),
        (lines("X: a\rY: b\r\n"), Syntax),
        (lines("X: a\0\r\n"), Syntax),
        (lines("X: a\x7f\r\n"), Syntax),
        (lines("X\0: a\r\n"), Syntax),
        (lines(": a\r\n"), Syntax),
        (lines("X\r\n"), Syntax),
        (lines("Host: a\r\n"), Host),
        (lines("Host: b\r\n"), Host),
        (lines("Connection: host\r\n"), Host),
    ] {
        assert_eq!(read(&text).err(), Some(malformed), "{text:?}");
    }
}

#[test]
fn a_request_line_and_a_host_are_clear_or_refused() {
    use Malformed::{BareLineFeed, Framing, Host, Syntax, Target, Version};
    for (text, malformed) in [
        ("GET / HTTP/1.1\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", Host),
        ("GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Host),
        ("GET / HTTP/1.1\nHost: a\n\n", BareLineFeed),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
        ("GET /\r\nHost: a\r\n\r\n", Syntax),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Syntax),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Syntax),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Syntax),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Framing,
        ),
    ] {
        assert_eq!(read(text).err(), Some(malformed), "{text:?}");
    }
}

#[test]
fn what_is_unusual_and_clear_is_taken() {
    for text in [
        "GET http://a HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET HTTPS://a:443/x?y HTTP/1.1\r\nHost: b\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PURGE /%7Bx%7D?{a|b} HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t z\t\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n",
    ] {
        head(text);
    }
}

#[test]
fn what_concerns_the_connection_is_dropped() {
    let head = head(&with(
        "Connection: close, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\nX-Bar: 2\r\n\
         Proxy-Connection: x\r\nTransfer-Encoding: Chunked\r\n",
    ));

    let names: Vec<&str> = head.parts.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["host", "x-bar"]);
    assert!(!head.keep_alive && matches!(head.coding, Coding::Chunked(_)));
}

#[test]
fn only_protocols_that_can_be_carried_are_switched_to() {
    let asked = |lines: &str| head(&with(lines)).upgrade;
    let socket = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";

    assert_eq!(
        asked(socket).as_ref().map(HeaderValue::as_bytes),
        Some(&b"WebSocket"[..])
    );
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, foo\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        assert_eq!(asked(lines), None, "{lines}");
        let headers = head(&with(lines)).parts.headers;
        assert!(!headers.contains_key("upgrade") && !headers.contains_key("http2-settings"));
    }
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits {
        head_bytes_max: 200,
        headers_max: 4,
        target_bytes_max: 50,
        ..Limits::default()
    };
    let refused = |text: String| {
        let mut buf = BytesMut::from(text.as_bytes());
        parse(&mut buf, &mut Vec::new(), &limits).err()
    };
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len));

    assert_eq!(refused(target(49)), None);
    assert_eq!(refused(target(50)), Some(Malformed::TargetTooLong));
    assert_eq!(
        refused(format!("GET /{}", "x".repeat(300))),
        Some(Malformed::TargetTooLong)
    );
    assert_eq!(
        refused(with(&format!("X: {}\r\n", "x".repeat(200)))),
        Some(Malformed::HeadTooLarge)
    );
    assert_eq!(
        refused(with("X: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\n")),
        Some(Malformed::TooManyHeaders)
    );
}

proptest! {
    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut buf = BytesMut::from(&bytes[..]);
        let _ = parse(&mut buf, &mut Vec::new(), &Limits::default());
    }

    #[test]
    fn nearly_a_request_ends_without_a_panic(text in "(GET|POST) [ -~\r\n]{1,60}( HTTP/1.[01]\r\n)?[ -~\r\n]{0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn a_head_is_not_read_before_its_end(at in 1_usize..60) {
        let text = with("Content-Length: 3\r\nConnection: close\r\n");
        let cut = &text[..at.min(text.len() - 1)];
        prop_assert!(matches!(read(cut), Ok(None)));
    }
}
