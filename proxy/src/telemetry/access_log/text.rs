//! Text of others in a log line: no value can end its field, start a line of its own or fill the
//! disk.

use std::fmt::{self, Write};

use http::HeaderValue;
use serde::{Serialize, Serializer};

/// Bytes of one value that a line shows; what is longer ends in `...`.
const VALUE_BYTES_MAX: usize = 1_024;
const CUT: &str = "...";

/// A value that may come from anybody: bytes, empty if there is none.
///
/// In a text line everything but printable ASCII is shown as `\xNN`, as are quotes, backslashes and,
/// outside quotes, spaces. In JSON it is a string, or null if it is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

/// A value between quotes.
pub(super) struct Quoted<'a>(pub(super) Text<'a>);

/// A value that ends at the next space.
pub(super) struct Bare<'a>(pub(super) Text<'a>);

// === impl Text ===

impl<'a> Text<'a> {
    fn cut(self) -> (&'a [u8], &'static str) {
        match self.0.get(..VALUE_BYTES_MAX) {
            Some(start) if start.len() < self.0.len() => (start, CUT),
            Some(_) | None => (self.0, ""),
        }
    }

    fn write(self, f: &mut fmt::Formatter<'_>, plain: fn(&u8) -> bool) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        let (bytes, end) = self.cut();
        for part in bytes.chunk_by(|a, b| plain(a) && plain(b)) {
            match std::str::from_utf8(part) {
                Ok(text) if part.iter().all(plain) => f.write_str(text)?,
                _ => part
                    .iter()
                    .try_for_each(|byte| write!(f, "\\x{byte:02X}"))?,
            }
        }
        f.write_str(end)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> From<Option<&'a HeaderValue>> for Text<'a> {
    fn from(value: Option<&'a HeaderValue>) -> Self {
        Self(value.map(HeaderValue::as_bytes).unwrap_or_default())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_none();
        }
        let (bytes, end) = self.cut();
        let text = String::from_utf8_lossy(bytes);
        if end.is_empty() {
            return serializer.serialize_str(&text);
        }
        // A character that the cut went through is not worth showing.
        serializer.serialize_str(&[text.trim_end_matches('\u{fffd}'), end].concat())
    }
}

// === impl Quoted ===

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, |byte| {
            matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
        })
    }
}

// === impl Bare ===

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, |byte| {
            matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\')
        })
    }
}
