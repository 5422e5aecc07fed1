//! `Transfer-Encoding`, alone and beside `Content-Length`.

use super::{BAD, BAD_CODING, Expected, Message, SMUGGLED, framed, message, understood};

const BODY: &str = "3\r\nabc\r\n0\r\n\r\n";

/// Values that are not the one coding that everybody knows.
const INVALID: [&str; 24] = [
    "",
    "gzip",
    "identity",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, identity",
    "identity, chunked",
    "chunked, chunked",
    "chunked chunked",
    "xchunked",
    "chunkedx",
    "chunke",
    "chunk",
    "\"chunked\"",
    "'chunked'",
    "chunked;q=1",
    "chunked;",
    "\u{b}chunked",
    "chunked\u{b}",
    "chunked\u{c}",
    "chunked\0",
    "\u{7f}chunked",
    "\u{a0}chunked",
    "\u{212a}chunked",
];

/// Lines that some read as `Transfer-Encoding: chunked`.
const DISGUISED: [&str; 12] = [
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\t: chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding\u{b}: chunked\r\n",
    "Transfer-Encoding\0: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding:\n chunked\r\n",
    "Transfer-Encoding\r\n: chunked\r\n",
    "Transfer Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
];

pub(super) fn messages() -> Vec<Message> {
    let coding = |value: &str| format!("Transfer-Encoding: {value}\r\n");
    let mut messages = Vec::new();
    for value in INVALID {
        messages.push(framed(coding(value), BODY, BAD_CODING));
        let both = format!("Content-Length: {}\r\n{}", BODY.len(), coding(value));
        messages.push(framed(both, BODY, BAD_CODING));
    }
    for line in DISGUISED {
        messages.push(framed(line, BODY, BAD));
        let smuggling = format!("0\r\n\r\n{SMUGGLED}");
        let both = format!("Content-Length: {}\r\n{line}", smuggling.len());
        messages.push(framed(both, smuggling, BAD));
    }
    for value in ["chunked", "Chunked", "CHUNKED", "chunked ", "\tchunked"] {
        let read = understood("POST", "/framed", "abc");
        messages.push(framed(coding(value), BODY, read));
    }
    for value in [",chunked", "chunked,", ", chunked ,"] {
        messages.push(framed(coding(value), BODY, Expected::Alike));
    }
    for (first, second) in [
        ("chunked", "chunked"),
        ("gzip", "chunked"),
        ("chunked", "gzip"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("", "chunked"),
    ] {
        messages.push(framed(coding(first) + &coding(second), BODY, BAD_CODING));
    }
    messages.extend(beside_a_length());
    let old = "POST /old HTTP/1.0\r\nHost: judge.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    messages.push(message(
        "chunked in 1.0",
        (old.to_owned() + BODY).into(),
        BAD,
    ));
    messages
}

/// Both framings in one head, in either order, for all three ways to disagree.
fn beside_a_length() -> Vec<Message> {
    let smuggling = format!("0\r\n\r\n{SMUGGLED}");
    let hidden = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let mut messages = Vec::new();
    for (length, body) in [
        (smuggling.len(), &smuggling),
        (0, &smuggling),
        (4, &hidden),
        (hidden.len(), &hidden),
    ] {
        for lines in [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            format!("transfer-encoding: Chunked\r\ncontent-length: {length}\r\n"),
        ] {
            messages.push(framed(lines, body, BAD));
        }
    }
    messages
}
