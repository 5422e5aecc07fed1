//! Chunked bodies with sizes, extensions, ends and trailers that are not as they should be.

use super::{Expected, Message, SMUGGLED, framed, understood};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Lines before a chunk of three bytes that do not say three.
const SIZES: [&str; 22] = [
    "",
    "+3",
    "-3",
    "0x3",
    "3x",
    "3g",
    "g",
    " 3",
    "\t3",
    "3_",
    "3.",
    "3,",
    "3\0",
    "\u{b}3",
    "3\u{b}",
    "3 3",
    "FFFFFFFFFFFFFFFF",
    "FFFFFFFFFFFFFFFFF",
    "10000000000000003",
    "100000000000000000000000000000003",
    "8000000000000003",
    "ffffffffffffff03",
];

/// Whole bodies, with `abc` in them, that end some line in another way than CRLF or not at all.
const ENDS: [&str; 16] = [
    "3\nabc\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabcXX0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "3\r\nabc\r\n0\n\n",
    "3\r\nabc\r\n0\r\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\r\n",
    "3\r\nabc\r\n-0\r\n\r\n",
    "3\r\nabc\r\n0x0\r\n\r\n",
    "3\r\nabc\r\n\r\n0\r\n\r\n",
];

/// Extensions that hide the end of a line from some.
const EXTENSIONS: [&str; 8] = [
    ";a\nb",
    ";a\rb",
    ";\n",
    ";a=\"\n\"",
    ";a=\"\r\n\"",
    ";a\0",
    ";a\u{1}b",
    "\n;a",
];

/// Trailers that are no header lines.
const TRAILERS: [&str; 10] = [
    "no colon\r\n",
    ": no name\r\n",
    "X : y\r\n",
    " X: y\r\n",
    "X: y\r\n folded\r\n",
    "X: y\0\r\n",
    "X: y\n",
    "X: y\rZ: z\r\n",
    "X\u{1}: y\r\n",
    "X: y\u{7f}\r\n",
];

pub(super) fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    let mut add = |name: &str, body: String, expected| {
        let mut message = framed(CHUNKED, body, expected);
        message.name = format!("chunked: {}", name.escape_debug());
        messages.push(message);
    };
    for size in SIZES {
        add(size, one(size, ""), Expected::Broken);
    }
    for body in ENDS {
        add(body, body.to_owned(), Expected::Broken);
    }
    for extension in EXTENSIONS {
        add(
            extension,
            one(&format!("3{extension}"), ""),
            Expected::Broken,
        );
        let last = format!("3\r\nabc\r\n0{extension}\r\n\r\n");
        add(&format!("last {extension}"), last, Expected::Broken);
    }
    for trailer in TRAILERS {
        add(trailer, one("3", trailer), Expected::Broken);
    }
    let read = || understood("POST", "/framed", "abc");
    for size in ["3", "3;a", "3;a=b", "3;a=\"b c\""] {
        add(size, one(size, ""), read());
    }
    add("trailer", one("3", "X-Sum: 1\r\n"), read());
    let two = "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
    add("two chunks", two.to_owned(), read());
    let long = format!("3;{}", "x".repeat(10_000));
    for size in [
        "03",
        "00000000000000000000003",
        "3 ",
        "3\t",
        "3 ;a",
        "3;",
        &long,
    ] {
        add(size, one(size, ""), Expected::Alike);
    }
    for trailer in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: other.test\r\n",
        "Connection: close\r\n",
        "Trailer: x\r\n",
    ] {
        add(trailer, one("3", trailer), Expected::Alike);
    }
    for last in ["00", "000", "0;a", "0;a=b", "0 "] {
        let body = format!("3\r\nabc\r\n{last}\r\n\r\n");
        add(last, body, Expected::Alike);
    }
    let inside = format!("{:X}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let read = understood("POST", "/framed", SMUGGLED);
    add("a request in a chunk", inside, read);
    messages
}

/// A body of one chunk, which is `abc`.
fn one(size: &str, trailers: &str) -> String {
    format!("{size}\r\nabc\r\n0\r\n{trailers}\r\n")
}
