//! Lines of a head: where they stand, and what the few say that concern framing and connection.

use std::ops::Range;

use http::HeaderMap;
use http::header::HeaderName;

/// Where a header line stands in a head. Small, because there is room for many on the stack.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineAt {
    name_at: u32,
    name_len: u32,
    value_at: u32,
    value_len: u32,
}

/// What the lines of `connection` ask for.
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Headers that are named: they concern the connection, too (RFC 9110 §7.6.1).
    nominated: Vec<HeaderName>,
}

/// Most digits of a length: 2^64 has as many. Leading zeros beyond that are no number to every parser.
const LENGTH_DIGITS_MAX: usize = 20;

/// Digits only, as RFC 9110 §8.6 has it; no sign, no list.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let sized = (1..=LENGTH_DIGITS_MAX).contains(&value.len());
    let digits = sized && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// Whether a head that ends at the end of `head` has a line that ends with LF alone. Parsers differ
/// in whether that ends a line (RFC 9112 §2.2), so that it can hide one.
pub(crate) fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

// === impl LineAt ===

impl LineAt {
    /// The place of a line that was parsed from `head`.
    pub(crate) fn of(line: &httparse::Header<'_>, head: &[u8]) -> Self {
        let at = |part: &[u8]| part.as_ptr() as usize - head.as_ptr() as usize;
        // No head is longer than what 32 bits can tell.
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            name_at: short(at(line.name.as_bytes())),
            name_len: short(line.name.len()),
            value_at: short(at(line.value)),
            value_len: short(line.value.len()),
        }
    }

    pub(crate) fn name(self) -> Range<usize> {
        let at = self.name_at as usize;
        at..at + self.name_len as usize
    }

    pub(crate) fn value(self) -> Range<usize> {
        let at = self.value_at as usize;
        at..at + self.value_len as usize
    }
}

// === impl ConnectionOptions ===

impl ConnectionOptions {
    /// Notes the options of one line.
    pub(crate) fn see(&mut self, value: &[u8]) {
        // What nearly everybody says.
        if value == b"keep-alive" {
            self.keep_alive = true;
            return;
        }
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.nominated.extend(HeaderName::from_bytes(token));
            }
        }
    }

    /// Whether `name` is nominated.
    pub(crate) fn nominates(&self, name: &HeaderName) -> bool {
        self.nominated.contains(name)
    }

    /// Removes what is nominated. `te` stays: of it only `trailers` is passed on, which its name in
    /// `connection` must not take away (RFC 9110 §10.1.4).
    pub(crate) fn remove_nominated(&self, headers: &mut HeaderMap) {
        for name in self
            .nominated
            .iter()
            .filter(|name| *name != http::header::TE)
        {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    #[test]
    fn a_length_is_made_of_digits_alone() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"18446744073709551615"), Some(u64::MAX));
        for value in [
            "",
            "+1",
            "-0",
            "0x10",
            "1_0",
            "5, 5",
            "1 0",
            "18446744073709551616",
            "000000000000000000003",
        ] {
            assert_eq!(content_length(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn options_are_told_from_nominations() {
        let mut options = ConnectionOptions::default();
        options.see(b"Keep-Alive,, X-Foo ");
        options.see(b" upgrade , te");

        assert!(options.keep_alive && options.upgrade && !options.close);
        assert!(options.nominates(&HeaderName::from_static("x-foo")));
        let mut headers = HeaderMap::new();
        headers.insert("x-foo", http::HeaderValue::from_static("1"));
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        options.remove_nominated(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [header::TE]);
    }

    #[test]
    fn a_line_feed_needs_its_carriage_return() {
        assert!(!has_bare_lf(b"GET / HTTP/1.1\r\na: b\r\n\r\n"));
        for head in ["GET / HTTP/1.1\na: b\r\n\r\n", "\nGET", "a\r\nb\n\r\n"] {
            assert!(has_bare_lf(head.as_bytes()), "{head:?}");
        }
    }
}
