//! What must hold of first bytes, whatever a client sends.

use super::{LINE_BYTES_MAX, METHOD_BYTES_MAX, Verdict, detect};

/// Judges first bytes whole and in part.
pub(crate) fn first_bytes(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let end = bytes.len() * usize::from(*cut) / usize::from(u8::MAX);
    let (part, whole) = (detect(&bytes[..end]), detect(bytes));
    assert!(
        part == Verdict::More || part == whole,
        "{part:?} becomes {whole:?} with more bytes"
    );
    if whole == Verdict::More {
        // Empty lines, a method and the rest of its line.
        let most = 4 + METHOD_BYTES_MAX + LINE_BYTES_MAX;
        assert!(bytes.len() < most, "it is waited for without end");
    }
}
