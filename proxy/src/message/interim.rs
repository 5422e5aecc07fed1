//! Interim (1xx) answers on their way down (RFC 9110 §15.2): the exchange with the upstream puts them
//! here, the downstream connection sends them before the answer.

use std::cell::RefCell;

use http::{HeaderMap, StatusCode, header};

/// Most bytes of interim answers that wait; further ones are left out, which costs a hint.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// The interim answers of one downstream connection that are not sent yet, as text.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    waiting: RefCell<Vec<u8>>,
}

// === impl Interim ===

impl Interim {
    /// Adds an answer.
    pub(crate) fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let mut waiting = self.waiting.borrow_mut();
        let start = waiting.len();
        let reason = status.canonical_reason().unwrap_or_default();
        waiting.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        // A length would be that of a body, and an interim answer has none (RFC 9110 §8.6).
        let lines = headers.iter();
        for (name, value) in lines.filter(|(name, _)| **name != header::CONTENT_LENGTH) {
            waiting.extend_from_slice(name.as_str().as_bytes());
            waiting.extend_from_slice(b": ");
            waiting.extend_from_slice(value.as_bytes());
            waiting.extend_from_slice(b"\r\n");
        }
        waiting.extend_from_slice(b"\r\n");
        if waiting.len() > WAITING_BYTES_MAX {
            waiting.truncate(start);
        }
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.waiting.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn answers_wait_as_text_within_bounds() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</a.css>"));
        interim.push(StatusCode::EARLY_HINTS, &headers);
        let long = HeaderValue::from_bytes(&[b'x'; WAITING_BYTES_MAX]).expect("a value");
        headers.insert("link", long);
        interim.push(StatusCode::EARLY_HINTS, &headers);

        let text = String::from_utf8(interim.take()).expect("text");

        assert_eq!(text, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert!(interim.is_empty());
    }
}
