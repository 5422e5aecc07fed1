//! Header lines: their ends, names, and bytes that must not be in them.

use super::{BAD, Expected, Message, headed, message, understood};

/// Characters that separate, and so are in no name.
const DELIMITERS: &str = "\"(),/;<=>?@[\\]{} ";

pub(super) fn messages() -> Vec<Message> {
    let mut messages = ends_of_lines();
    // All but tab, which is white space, and CR and LF, which have cases of their own.
    let controls = (0_u8..0x20).chain([0x7f]);
    for byte in controls.filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n')) {
        let value = [b"X-Value: a".as_slice(), &[byte], b"b\r\n"].concat();
        messages.push(headed(value, BAD));
        let name = [b"X-Na".as_slice(), &[byte], b"me: a\r\n"].concat();
        messages.push(headed(name, BAD));
    }
    for delimiter in DELIMITERS.chars() {
        messages.push(headed(format!("X{delimiter}Name: a\r\n"), BAD));
    }
    for byte in [0x80_u8, 0xa0, 0xff] {
        let name = [b"X-N".as_slice(), &[byte], b": a\r\n"].concat();
        messages.push(headed(name, BAD));
        let value = [b"X-V: ".as_slice(), &[byte], b"\r\n"].concat();
        messages.push(headed(value, Expected::Alike));
    }
    for lines in [
        "no colon\r\n",
        ": no name\r\n",
        " : blank name\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        " X: a\r\n",
        "\tX: a\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tfolded\r\n",
        "X: a\r\n \r\n",
        "X:\r\n a\r\n",
    ] {
        messages.push(headed(lines, BAD));
    }
    for lines in [
        "X:a\r\n",
        "X:\r\n",
        "X: \t a \t \r\n",
        "X_y: a\r\n",
        "!#$%&'*+-.^_`|~: a\r\n",
    ] {
        messages.push(headed(lines, understood("GET", "/line", "")));
    }
    messages
}

/// Heads in which another byte than CRLF ends a line.
fn ends_of_lines() -> Vec<Message> {
    let mut messages = Vec::new();
    for head in [
        "GET /ends HTTP/1.1\nHost: judge.test\nX: a\n\n",
        "GET /ends HTTP/1.1\nHost: judge.test\r\nX: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\nX: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\r\n\n",
        "GET /ends HTTP/1.1\rHost: judge.test\rX: a\r\r",
        "GET /ends HTTP/1.1\rHost: judge.test\r\nX: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\rX: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\r\r\n\r\n",
        "GET /ends HTTP/1.1\r\r\nHost: judge.test\r\nX: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\rb\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX\r: a\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\r\n\rY: b\r\n\r\n",
        "GET /ends HTTP/1.1\r\nHost: judge.test\r\nX: a\n\rY: b\r\n\r\n",
    ] {
        messages.push(message(head, head.into(), BAD));
    }
    for before in ["\r\n", "\n", "\r\n\r\n"] {
        let head = format!("{before}GET /line HTTP/1.1\r\nHost: judge.test\r\n\r\n");
        messages.push(message(&head, head.clone().into(), Expected::Alike));
    }
    messages
}
