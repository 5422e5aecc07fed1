//! Requests that are right, with bodies that look like other requests: whoever loses count of the
//! bytes takes the body for one.

use super::{Expected, Message, SMUGGLED, Whole, message, understood};

pub(super) fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let length = SMUGGLED.len();
        let head = format!("{method} /body HTTP/1.1\r\nHost: judge.test\r\n");
        let counted = format!("{head}Content-Length: {length}\r\n\r\n{SMUGGLED}");
        let chunked = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        );
        for (framing, bytes) in [("counted", counted), ("chunked", chunked)] {
            let read = understood(method, "/body", SMUGGLED);
            messages.push(message(format!("{method} {framing}"), bytes.into(), read));
        }
    }
    messages.push(several());
    messages.push(old());
    messages.push(old_without_host());
    messages.push(unfinished());
    messages
}

/// Five requests in one write.
fn several() -> Message {
    let mut bytes = String::new();
    let mut read = Vec::new();
    for number in 0..5 {
        let body = "x".repeat(number);
        bytes += &format!(
            "POST /{number} HTTP/1.1\r\nHost: judge.test\r\nContent-Length: {number}\r\n\r\n{body}"
        );
        read.push(Whole::new("POST", &format!("/{number}"), &body));
    }
    read.push(Whole::after());
    message("five at once", bytes.into(), Expected::Understood(read))
}

/// HTTP/1.0, which ends the connection: what follows is not read.
fn old() -> Message {
    let head = b"GET /old HTTP/1.0\r\nHost: judge.test\r\n\r\n".to_vec();
    let read = vec![Whole::new("GET", "/old", "")];
    message("HTTP/1.0", head, Expected::Understood(read))
}

/// HTTP/1.0 needs no host, but who sends it on as 1.1 does.
fn old_without_host() -> Message {
    let head = b"GET /old HTTP/1.0\r\n\r\n".to_vec();
    message("HTTP/1.0 without a host", head, Expected::Alike)
}

/// A body that ends with the connection, and not where it should.
fn unfinished() -> Message {
    let head = b"POST /half HTTP/1.1\r\nHost: judge.test\r\nContent-Length: 5000\r\n\r\n".to_vec();
    message("an unfinished body", head, Expected::Broken)
}
