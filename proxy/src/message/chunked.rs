//! Taking the chunked coding off a body (RFC 9112 §7.1), strictly: what two parsers could read
//! differently is an error, and what surrounds the data is bounded.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// Longest line that opens a chunk, extensions included, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of extensions in a body: they say nothing to us, and a body of one-byte chunks with
/// long ones would cost far more than its data.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;
/// Most digits of a size: 2^60 bytes are enough, and nothing can overflow.
const SIZE_DIGITS_MAX: usize = 15;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Most trailer lines.
const TRAILERS_MAX: usize = 64;

/// Where in a chunked body the reader is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chunked {
    at: At,
    extension_bytes: u32,
}

#[derive(Debug, Clone, Copy, Default)]
enum At {
    /// The line that opens a chunk is next.
    #[default]
    Size,
    /// So many bytes of the chunk are missing.
    Data(u64),
    /// The line end behind a chunk is next.
    End,
    /// Trailers or the last line end are next.
    Trailers,
}

/// One step of decoding.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// A part of the body; never empty.
    Data(Bytes),
    /// The body is over, with trailers.
    Trailers(HeaderMap),
    /// Nothing without more input.
    More,
    /// The body is over.
    End,
}

/// Why a chunked body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not the syntax of RFC 9112 §7.1.
    #[error("invalid chunked coding")]
    Syntax,
    /// More around the data than is allowed.
    #[error("chunk extensions or trailers are too large")]
    TooLarge,
}

// === impl Chunked ===

impl Chunked {
    /// The next part of the body that `buf` has.
    pub(crate) fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match &mut self.at {
                At::Size => match self.open(buf)? {
                    Some(size) => self.at = size,
                    None => return Ok(Decoded::More),
                },
                At::Data(_) if buf.is_empty() => return Ok(Decoded::More),
                At::Data(missing) => {
                    let data = take_up_to(buf, missing);
                    if *missing == 0 {
                        self.at = At::End;
                    }
                    return Ok(Decoded::Data(data));
                }
                At::End => match buf.get(..2) {
                    Some(b"\r\n") => {
                        buf.advance(2);
                        self.at = At::Size;
                    }
                    None if b"\r\n".starts_with(buf) => return Ok(Decoded::More),
                    Some(_) | None => return Err(ChunkError::Syntax),
                },
                At::Trailers => return trailers(buf),
            }
        }
    }

    /// Takes the line that opens a chunk off `buf`.
    fn open(&mut self, buf: &mut BytesMut) -> Result<Option<At>, ChunkError> {
        let window = &buf[..buf.len().min(LINE_BYTES_MAX)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            // What can be seen of a broken line is told at once, not when its end comes.
            size(line_so_far(window))?;
            return match buf.len() < LINE_BYTES_MAX {
                true => Ok(None),
                false => Err(ChunkError::TooLarge),
            };
        };
        let line = window[..end]
            .strip_suffix(b"\r")
            .ok_or(ChunkError::Syntax)?;
        let (size, extension_len) = size(line)?;
        let size = size.ok_or(ChunkError::Syntax)?;
        let extension_len = u32::try_from(extension_len).unwrap_or(u32::MAX);
        self.extension_bytes = self.extension_bytes.saturating_add(extension_len);
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(ChunkError::TooLarge);
        }
        buf.advance(end + 1);
        Ok(Some(match size {
            0 => At::Trailers,
            size => At::Data(size),
        }))
    }
}

/// A line whose end has not come: without the carriage return that may belong to the end, and the
/// white space that may come before an extension.
fn line_so_far(window: &[u8]) -> &[u8] {
    let window = window.strip_suffix(b"\r").unwrap_or(window);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let blanks = window.iter().rev().take_while(|byte| is_blank(byte));
    &window[..window.len() - blanks.count()]
}

/// The size that a line names, if it has one yet, and the length of what follows it. White space
/// is allowed around the semicolon only (RFC 9112 §7.1.1), control characters nowhere.
fn size(line: &[u8]) -> Result<(Option<u64>, usize), ChunkError> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (number, extension) = line.split_at(digits);
    if digits > SIZE_DIGITS_MAX || (digits == 0 && !line.is_empty()) {
        return Err(ChunkError::Syntax);
    }
    let opened = extension.trim_ascii_start();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let well_opened = match opened.first() {
        None => extension.is_empty(),
        Some(b';') => extension[..extension.len() - opened.len()]
            .iter()
            .all(is_blank),
        Some(_) => false,
    };
    let clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !well_opened || !extension.iter().all(clean) {
        return Err(ChunkError::Syntax);
    }
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|number| u64::from_str_radix(number, 16).ok());
    Ok((number, extension.len()))
}

/// At most `missing` bytes of `buf`; what was taken is no longer missing.
pub(crate) fn take_up_to(buf: &mut BytesMut, missing: &mut u64) -> Bytes {
    let len = usize::try_from(*missing)
        .unwrap_or(usize::MAX)
        .min(buf.len());
    *missing -= len as u64;
    buf.split_to(len).freeze()
}

/// The trailer section, or the empty line that stands for none.
fn trailers(buf: &mut BytesMut) -> Result<Decoded, ChunkError> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Decoded::End);
    }
    let mut lines = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    match httparse::parse_headers(buf, &mut lines) {
        Ok(httparse::Status::Complete((used, _))) if used > TRAILER_BYTES_MAX => {
            Err(ChunkError::TooLarge)
        }
        Ok(httparse::Status::Complete((used, lines))) => {
            if crate::message::line::has_bare_lf(&buf[..used]) {
                return Err(ChunkError::Syntax);
            }
            let mut trailers = HeaderMap::with_capacity(lines.len());
            for line in lines.iter() {
                let name = HeaderName::from_bytes(line.name.as_bytes());
                let value = HeaderValue::from_bytes(line.value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(ChunkError::Syntax);
                };
                if may_trail(&name) {
                    trailers.append(name, value);
                }
            }
            buf.advance(used);
            Ok(if trailers.is_empty() {
                Decoded::End
            } else {
                Decoded::Trailers(trailers)
            })
        }
        Ok(httparse::Status::Partial) if buf.len() < TRAILER_BYTES_MAX => Ok(Decoded::More),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Err(ChunkError::TooLarge)
        }
        Err(_) => Err(ChunkError::Syntax),
    }
}

/// Whether a field may stand behind a body: not what frames, routes or authenticates a message,
/// since who merges trailers into the head would act on it too late (RFC 9110 §6.5.1).
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    let forbidden = [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let text = name.as_str();
    let instruction = text.starts_with("x-envoy-") || text == "x-forwarded-for";
    let of_connection = matches!(text, "keep-alive" | "proxy-connection");
    !forbidden.contains(name) && !instruction && !of_connection
}

#[cfg(test)]
mod tests;
