//! `Content-Length` in every form but the one that is right.

use super::{BAD, Expected, Message, framed, understood};

const BODY: &str = "abc";

/// Values that are no number of bytes.
const INVALID: [&str; 24] = [
    "+3",
    "-3",
    "-0",
    "3 3",
    "3, 4",
    "3,+3",
    "3;",
    "0x3",
    "3.0",
    "3e0",
    "3abc",
    "abc",
    "\"3\"",
    "",
    " ",
    ",",
    "1_0",
    "3\u{b}",
    "3\u{c}",
    "\u{b}3",
    "3\0",
    "\u{969}",
    "18446744073709551616",
    "99999999999999999999999999999999",
];

pub(super) fn messages() -> Vec<Message> {
    let length = |value: &str| format!("Content-Length: {value}\r\n");
    let mut messages: Vec<Message> = INVALID
        .iter()
        .map(|value| framed(length(value), BODY, BAD))
        .collect();
    for value in ["3", "3 ", "   3", "\t3\t"] {
        let read = understood("POST", "/framed", BODY);
        messages.push(framed(length(value), BODY, read));
    }
    for value in ["03", "0000000000000000000000003", "3,3", "3, 3", ",3", "3,"] {
        messages.push(framed(length(value), BODY, Expected::Alike));
    }
    for (first, second) in [("3", "4"), ("4", "3"), ("3", "+3"), ("", "3"), ("0", "3")] {
        messages.push(framed(length(first) + &length(second), BODY, BAD));
    }
    messages.push(framed(length("3") + &length("3"), BODY, Expected::Alike));
    for line in [
        "Content-Length : 3\r\n",
        "Content-Length\t: 3\r\n",
        " Content-Length: 3\r\n",
        "Content-Length\0: 3\r\n",
        "Content-Length\r: 3\r\n",
        "Content-Length\r\n : 3\r\n",
        "Content-Length:\r\n 3\r\n",
        "Content-Length:\n3\r\n",
        "Content Length: 3\r\n",
        "X: y\nContent-Length: 3\r\n",
        "X: y\rContent-Length: 3\r\n",
        "X: y\r\n\tContent-Length: 3\r\n",
    ] {
        messages.push(framed(line, BODY, BAD));
    }
    messages
}
