//! What a connection speaks, told by its first bytes.
//!
//! A pure function of all bytes so far. Once it has decided, more bytes do not change its mind, so that
//! it does not matter how they were cut into segments. It decides as early as it can, and where both
//! are possible rather for HTTP: what looks like it to a lenient server must not go around its rules.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use crate::request::server::PREFACE;

/// Longest method that is taken for one. The longest that is registered has 17 bytes.
const METHOD_BYTES_MAX: usize = 64;
/// Longest request line that is looked at. One that goes on is HTTP if it began like it, so that it is
/// refused where targets of such a length are.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How versions of HTTP/1 begin, in a request line.
const VERSION: &[u8] = b"HTTP/";
/// Most empty lines before a request, which servers skip (RFC 9112 §2.2).
const EMPTY_LINES_MAX: usize = 2;

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    More,
    /// A request line of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// The greeting of a client of TLS.
    Tls,
    /// Anything else.
    Opaque,
}

/// Looks at the first bytes of a connection.
pub(crate) fn detect(bytes: &[u8]) -> Verdict {
    match bytes.first() {
        None => Verdict::More,
        Some(&HANDSHAKE_RECORD) => tls(bytes),
        Some(_) if bytes.starts_with(PREFACE) => Verdict::Http2,
        Some(_) if PREFACE.starts_with(bytes) => Verdict::More,
        Some(_) => http1(bytes),
    }
}

/// Type of records that carry handshake messages (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The head of a record, and the type of the message within.
fn tls(bytes: &[u8]) -> Verdict {
    const FRAGMENT_MAX: u16 = 1 << 14;
    const CLIENT_HELLO: u8 = 1;
    // Every version so far has 3 here.
    let is_major = |major: u8| major == 3;
    let is_length = |length| (1..=FRAGMENT_MAX).contains(&length);
    let fits = match *bytes {
        [_, major, _, high, low, kind, ..] => {
            let length = u16::from_be_bytes([high, low]);
            let fits = is_major(major) && is_length(length) && kind == CLIENT_HELLO;
            return match fits {
                true => Verdict::Tls,
                false => Verdict::Opaque,
            };
        }
        [_, major, _, high, low] => is_major(major) && is_length(u16::from_be_bytes([high, low])),
        [_, major, ..] => is_major(major),
        [_] | [] => true,
    };
    match fits {
        true => Verdict::More,
        false => Verdict::Opaque,
    }
}

/// A request line: a method, and then words of which one is a version.
fn http1(bytes: &[u8]) -> Verdict {
    let mut line = bytes;
    for _ in 0..EMPTY_LINES_MAX {
        line = line.strip_prefix(b"\r\n").unwrap_or(line);
    }
    if line.is_empty() || line == b"\r" {
        return Verdict::More;
    }
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    if method == 0 || method > METHOD_BYTES_MAX {
        return Verdict::Opaque;
    }
    let (method, rest) = line.split_at(method);
    match rest.first() {
        None => Verdict::More,
        Some(byte) if is_blank(*byte) => after_method(method, rest),
        Some(_) => Verdict::Opaque,
    }
}

/// The rest of a request line. The first word that is a version decides, wherever it stands: a target
/// with spaces is none, and whoever sends one to a server that takes it speaks HTTP all the same.
fn after_method(method: &[u8], rest: &[u8]) -> Verdict {
    let rest = &rest[..rest.len().min(LINE_BYTES_MAX)];
    // No request has a NUL. Binary protocols with a word at their beginning soon do.
    let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
    let line = &rest[..end.unwrap_or(rest.len())];
    let mut words = line.split(|byte| is_blank(*byte)).peekable();
    let mut target: Option<&[u8]> = None;
    while let Some(word) = words.next() {
        if word.is_empty() {
            continue;
        }
        let Some(_) = target else {
            target = Some(word);
            continue;
        };
        if word.starts_with(VERSION) {
            return Verdict::Http1;
        }
        let is_whole = end.is_some() || words.peek().is_some();
        if is_whole && is_version(word) {
            return Verdict::Opaque;
        }
    }
    let is_path = target.is_some_and(|target| target.starts_with(b"/"));
    let is_line = end.is_some_and(|end| rest[end] == b'\n');
    let is_long = rest.len() == LINE_BYTES_MAX;
    match (end, is_path) {
        (None, _) if !is_long => Verdict::More,
        (None, true) => Verdict::Http1,
        // What HTTP was before it had versions, and methods other than this one.
        (Some(_), true) if is_line && method == b"GET" => Verdict::Http1,
        (None, false) | (Some(_), _) => Verdict::Opaque,
    }
}

/// Whether a word is the version of some protocol, as those have it that borrowed the form of HTTP:
/// `RTSP/1.0`, `SIP/2.0`, `ICE/1.0`.
fn is_version(word: &[u8]) -> bool {
    let at = word.iter().position(|byte| *byte == b'/');
    let Some((name, number)) = at.map(|at| (&word[..at], &word[at + 1..])) else {
        return false;
    };
    !name.is_empty()
        && name.iter().all(u8::is_ascii_uppercase)
        && number.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a byte stands between the words of a request line, for servers that are generous
/// (RFC 9112 §3).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// Whether a byte may stand in a method (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
