//! The normal form of a path (RFC 3986 §6.2.2): what rules match is what the upstream sees.
//!
//! By default (Istio's `BASE`): dot segments are removed, also those with path parameters, which some
//! servers leave out of account (`/a/..;x/b`); percent-encoded unreserved characters are decoded, and
//! `\` becomes `/`. Repeated slashes and all other escapes stay as they came, because a signature may
//! cover them.

use clap::ValueEnum;
use config::resource::mesh_config::PathNormalization;
use http::uri::PathAndQuery;

/// What is wrong with a path that has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A fragment has no place in a request.
    #[error("fragment in request target")]
    Fragment,
    /// An encoded NUL.
    #[error("NUL in request target")]
    Nul,
}

/// How far a path is brought to normal form, as Istio's `meshConfig.pathNormalization` has it: each
/// stronger than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum)]
pub enum Normalization {
    /// Not at all: what a rule of authorization says of a path, an upstream may read otherwise.
    None,
    /// RFC 3986.
    #[default]
    Base,
    /// The same, and slashes that follow one another become one.
    MergeSlashes,
    /// The same, once escaped slashes and backslashes are what they stand for.
    DecodeAndMergeSlashes,
}

// === impl Normalization ===

impl From<PathNormalization> for Normalization {
    fn from(written: PathNormalization) -> Self {
        match written {
            PathNormalization::None => Self::None,
            PathNormalization::Base => Self::Base,
            PathNormalization::MergeSlashes => Self::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes => Self::DecodeAndMergeSlashes,
        }
    }
}

impl From<Normalization> for PathNormalization {
    fn from(ours: Normalization) -> Self {
        match ours {
            Normalization::None => Self::None,
            Normalization::Base => Self::Base,
            Normalization::MergeSlashes => Self::MergeSlashes,
            Normalization::DecodeAndMergeSlashes => Self::DecodeAndMergeSlashes,
        }
    }
}

/// The normal form of `path` (without query), or `None` if it is in normal form already.
pub fn normalize(path: &str, how: Normalization) -> Result<Option<String>, PathError> {
    let merges = match how {
        Normalization::None => return Ok(None),
        Normalization::Base => false,
        Normalization::MergeSlashes | Normalization::DecodeAndMergeSlashes => true,
    };
    if !needs_work(path.as_bytes(), merges) {
        return Ok(None);
    }
    let decoded = decode(path, how == Normalization::DecodeAndMergeSlashes)?;
    let normal = remove_dot_segments(&decoded);
    Ok(Some(if merges {
        merge_slashes(&normal)
    } else {
        normal
    }))
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !merged.ends_with('/') {
            merged.push(char);
        }
    }
    merged
}

/// What a rewrite made of a path, with `query` behind it, as it can stand in a request: it begins with
/// `/`, and characters that have no place in a path are percent-encoded, because whoever wrote a rule
/// with `/a b` meant a path. None if it cannot be sent even so, such as for its length.
pub(crate) fn sendable(path: &str, query: Option<&str>) -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut target = String::with_capacity(path.len() + 1 + query.map_or(0, str::len));
    if !path.starts_with('/') {
        target.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`') {
            target.push(char::from(byte));
            continue;
        }
        target.push('%');
        target.push(char::from(DIGITS[usize::from(byte >> 4)]));
        target.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target.as_str())
        .is_ok()
        .then_some(target)
}

/// One pass over what is nearly always a clean path.
fn needs_work(path: &[u8], merges: bool) -> bool {
    let mut before = 0;
    for &byte in path {
        let slashes = merges && byte == b'/' && before == b'/';
        if matches!(byte, b'%' | b'\\' | b'#') || (byte == b'.' && before == b'/') || slashes {
            return true;
        }
        before = byte;
    }
    false
}

fn decode(path: &str, slashes: bool) -> Result<String, PathError> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\', '#']) {
        out.push_str(&rest[..at]);
        let from = path.len() - rest.len() + at;
        let mut used = 1;
        match bytes[from] {
            b'#' => return Err(PathError::Fragment),
            b'\\' => out.push('/'),
            _ => match bytes.get(from + 1..from + 3).and_then(hex) {
                Some(0) => return Err(PathError::Nul),
                Some(b'/' | b'\\') if slashes => {
                    out.push('/');
                    used = 3;
                }
                Some(byte) if is_unreserved(byte) && !completes_escape(&out, byte) => {
                    out.push(char::from(byte));
                    used = 3;
                }
                Some(_) | None => out.push('%'),
            },
        }
        rest = &path[from + used..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether `byte` behind `out` would make an escape of what is none: who reads the result would
/// decode once more than we did, and see a path that no rule was asked about.
fn completes_escape(out: &str, byte: u8) -> bool {
    let begun = match out.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    };
    begun && byte.is_ascii_hexdigit()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §5.2.4, without merging slashes.
fn remove_dot_segments(path: &str) -> String {
    let Some(rest) = path.strip_prefix('/') else {
        return path.to_owned();
    };
    let mut out = String::with_capacity(path.len());
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let (name, _parameters) = segment.split_once(';').unwrap_or((segment, ""));
        match name {
            "." | ".." => {
                if name == ".." {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                if last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base(path: &str) -> Result<Option<String>, PathError> {
        normalize(path, Normalization::Base)
    }

    #[test]
    fn slashes_are_merged_and_decoded_only_if_asked() {
        use Normalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
        for (path, how, expected) in [
            ("/a/../b", None, "/a/../b"),
            ("//a///b", Base, "//a///b"),
            ("//a///b/", MergeSlashes, "/a/b/"),
            ("/a//../b", MergeSlashes, "/a/b"),
            ("/a%2Fb", MergeSlashes, "/a%2Fb"),
            ("/a%2fb%5C%2e%2e//c", DecodeAndMergeSlashes, "/a/c"),
            ("/%252f", DecodeAndMergeSlashes, "/%252f"),
        ] {
            let normal = normalize(path, how).expect("a path");
            assert_eq!(
                normal.as_deref().unwrap_or(path),
                expected,
                "{path} {how:?}"
            );
        }
    }

    #[test]
    fn paths_have_one_form() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%61%2e%2e/x", "/a../x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb%2F%c3%a9", "/a%2fb%2F%c3%a9"),
            ("/a/..;/foo", "/foo"),
            ("/a/..;x=1/.;y/foo", "/foo"),
            ("/a/..%3b/foo", "/a/..%3b/foo"),
            ("/.a;x/foo", "/.a;x/foo"),
            ("/a\\b", "/a/b"),
            ("//a//b/../", "//a//"),
            ("/a%zz%", "/a%zz%"),
            ("/public/%2%65%2%65/admin", "/public/%2%65%2%65/admin"),
            ("/%%32e%%32%65/x", "/%%32e%%32e/x"),
            ("/%2%2e%2f%61", "/%2.%2fa"),
        ] {
            assert_eq!(base(path), Ok(Some(expected.to_owned())), "{path}");
        }
        for path in ["/", "/a.b/c", "//a//b", "/..a"] {
            assert!(matches!(base(path), Ok(None)) || path == "/..a", "{path}");
        }
        assert_eq!(base("/..a"), Ok(Some("/..a".to_owned())));
    }

    #[test]
    fn what_cannot_be_normal_is_refused() {
        assert_eq!(base("/a#b"), Err(PathError::Fragment));
        assert_eq!(base("/a%00"), Err(PathError::Nul));
    }

    #[test]
    fn a_rewritten_path_can_be_sent() {
        for (path, query, expected) in [
            ("/a", None, "/a"),
            ("a/b", Some("x=1"), "/a/b?x=1"),
            ("", None, "/"),
            ("/a b#c", Some("x"), "/a%20b%23c?x"),
            ("/é\r\n", None, "/%C3%A9%0D%0A"),
            ("/a%20b?y=%", None, "/a%20b?y=%"),
        ] {
            assert_eq!(sendable(path, query).as_deref(), Some(expected), "{path:?}");
        }
        assert_eq!(sendable(&"a".repeat(1 << 16), None), None);
    }

    proptest! {
        #[test]
        fn whatever_a_rewrite_makes_can_be_sent(path in "\\PC{0,24}") {
            prop_assert!(sendable(&path, None).is_some());
        }

        #[test]
        fn the_normal_form_is_stable(path in "/[aeE256./%\\\\]{0,24}") {
            if let Ok(Some(normal)) = base(&path) {
                prop_assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")));
                prop_assert!(!normal.to_ascii_lowercase().contains("%2e"), "{}", normal);
                let again = base(&normal);
                prop_assert!(matches!(&again, Ok(None)) || again == Ok(Some(normal)));
            }
        }
    }
}
