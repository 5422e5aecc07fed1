//! What a client says first in TLS (RFC 8446 §4.1.2), as far as it tells where a connection goes.
//!
//! It is read without being used up and without an opinion on the rest: what passes through us may
//! speak versions and ciphers that we do not. Only the form around the name is looked at.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use std::ops::Range;

/// Largest greeting that is waited for, in bytes. Those of browsers have 0.5 to 2 KiB, with keys that
/// withstand quantum computers.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Type of records that carry handshake messages.
const HANDSHAKE_RECORD: u8 = 22;
/// Length of a record's head: type, version, length.
const RECORD_HEAD: usize = 5;
/// Largest fragment of a record that is not encrypted.
const FRAGMENT_MAX: usize = 1 << 14;
/// Type of the message.
const CLIENT_HELLO: u8 = 1;
/// Type of the extension that holds the name (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
/// Type of the extension that holds what the client would speak (RFC 7301 §3.1).
const PROTOCOLS: u16 = 16;
/// How the protocols begin that proxies of Istio name among each other.
const OF_MESH: &[u8] = b"istio";
/// The one kind of name there is.
const HOST_NAME: u8 = 0;
/// Longest name in DNS.
const NAME_BYTES_MAX: usize = 255;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of a greeting; the rest has to come.
    Partial,
    /// All of it.
    Whole {
        /// The name that it asks for; empty if it names none.
        server_name: Box<str>,
        /// The client speaks nothing newer than TLS 1.1.
        is_old: bool,
        /// The client offers to speak as proxies of the mesh do among each other.
        of_mesh: bool,
    },
}

/// Why the first bytes are no greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("no TLS")]
    NotTls,
    #[error("HTTP in plain text")]
    PlainHttp,
    #[error("malformed greeting")]
    Malformed,
    #[error("greeting of more than {HELLO_BYTES_MAX} bytes")]
    TooLong,
}

/// Bytes that are taken from the front.
#[derive(Clone, Copy)]
struct Bytes<'b>(&'b [u8]);

/// Looks at the first bytes of a connection.
///
/// # Errors
///
/// As soon as they cannot become a greeting any more.
pub(crate) fn read(bytes: &[u8]) -> Result<Hello, HelloError> {
    // Methods of HTTP are written so, and nothing of TLS is.
    if bytes.first().is_some_and(u8::is_ascii_uppercase) {
        return Err(HelloError::PlainHttp);
    }
    let mut records = Records::default();
    while let Some(fragment) = records.next(bytes)? {
        records.message.extend_from_slice(&bytes[fragment]);
        if let Some(message) = whole(&records.message)? {
            return Ok(Hello::Whole {
                server_name: server_name(message)?,
                is_old: is_old(message),
                of_mesh: is_of_mesh(message),
            });
        }
    }
    match bytes.len() < HELLO_BYTES_MAX {
        true => Ok(Hello::Partial),
        false => Err(HelloError::TooLong),
    }
}

/// The records at the beginning of a connection, and the message that they carry.
#[derive(Default)]
struct Records {
    at: usize,
    message: Vec<u8>,
}

// === impl Records ===

impl Records {
    /// Where the fragment of the next record is; none if it is not whole.
    fn next(&mut self, bytes: &[u8]) -> Result<Option<Range<usize>>, HelloError> {
        let rest = &bytes[self.at..];
        let not_first = self.at > 0;
        let wrong = match not_first {
            true => HelloError::Malformed,
            false => HelloError::NotTls,
        };
        // Every version so far has 3 here, also those that are no longer spoken.
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE_RECORD)
            || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Err(wrong);
        }
        let Some(head) = rest.get(..RECORD_HEAD) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > FRAGMENT_MAX {
            return Err(wrong);
        }
        let from = self.at + RECORD_HEAD;
        let to = from + length;
        // What is there of it may already be more than is waited for.
        if to > HELLO_BYTES_MAX {
            return Err(HelloError::TooLong);
        }
        // A part of a record tells whether it can be a greeting at all.
        if !not_first && bytes.get(from).is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::NotTls);
        }
        if bytes.len() < to {
            return Ok(None);
        }
        self.at = to;
        Ok(Some(from..to))
    }
}

/// The body of the message, once it is whole.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::NotTls);
    }
    let Some(&[_, a, b, c]) = message.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > HELLO_BYTES_MAX {
        return Err(HelloError::TooLong);
    }
    Ok(message[4..].get(..length))
}

/// Whether a client speaks nothing that we do. Later versions than 1.2 call themselves 1.2 here.
fn is_old(message: &[u8]) -> bool {
    const TLS_1_2: [u8; 2] = [3, 3];
    message
        .first_chunk()
        .is_some_and(|version| *version < TLS_1_2)
}

/// The name that a greeting asks for, in lower case and without the dot of the root.
fn server_name(message: &[u8]) -> Result<Box<str>, HelloError> {
    extensions(message)
        .and_then(name_among)
        .ok_or(HelloError::Malformed)
}

/// Whether one of the protocols that a client offers is of the mesh.
fn is_of_mesh(message: &[u8]) -> bool {
    let Some(mut extensions) = extensions(message) else {
        return false;
    };
    while let (Some(kind), Some(mut content)) = (extensions.u16(), extensions.vector16()) {
        if kind != PROTOCOLS {
            continue;
        }
        let Some(mut protocols) = content.vector16() else {
            return false;
        };
        while let Some(protocol) = protocols.vector8() {
            if protocol.0.starts_with(OF_MESH) {
                return true;
            }
        }
    }
    false
}

/// The extensions of a greeting; empty where there are none, as before TLS 1.2.
fn extensions(message: &[u8]) -> Option<Bytes<'_>> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let mut bytes = Bytes(message);
    bytes.take(VERSION_AND_RANDOM)?;
    let _session = bytes.vector8()?;
    let suites = bytes.vector16()?;
    let compressions = bytes.vector8()?;
    if suites.0.is_empty() || compressions.0.is_empty() {
        return None;
    }
    if bytes.0.is_empty() {
        return Some(bytes);
    }
    let extensions = bytes.vector16()?;
    bytes.0.is_empty().then_some(extensions)
}

/// The host name among extensions; `None` if they are malformed, or name several.
fn name_among(mut extensions: Bytes<'_>) -> Option<Box<str>> {
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        if kind == SERVER_NAME && found.replace(host_name(content)?).is_some() {
            return None;
        }
    }
    Some(found.unwrap_or_default())
}

/// The one host name of the extension.
fn host_name(mut content: Bytes<'_>) -> Option<Box<str>> {
    let mut names = content.vector16()?;
    let kind = names.u8()?;
    let name = names.vector16()?.0;
    let one = names.0.is_empty() && content.0.is_empty();
    if !one || kind != HOST_NAME || !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return None;
    }
    // It is looked up, logged and shown: nothing but what names of hosts are made of.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !name.iter().all(is_plain) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    // As in the names of hosts, more dots at the end are no name.
    (!name.is_empty() && !name.ends_with('.')).then(|| name.to_ascii_lowercase().into())
}

// === impl Bytes ===

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// What has its length before it, in one byte.
    fn vector8(&mut self) -> Option<Bytes<'b>> {
        let length = self.u8()?;
        self.take(usize::from(length)).map(Bytes)
    }

    /// What has its length before it, in two bytes.
    fn vector16(&mut self) -> Option<Bytes<'b>> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Bytes)
    }
}

#[cfg(test)]
mod tests;
