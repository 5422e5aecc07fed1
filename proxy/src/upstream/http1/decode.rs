//! Reading an answer: its head, and the framing of its body (RFC 9112 §6).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use crate::request::headers::is_hop_by_hop;
use crate::upstream::http1::{RESPONSE_HEAD_BYTES_MAX, ReadError};

/// Most header lines of an answer.
const HEADERS_MAX: usize = 128;
/// Longest line that opens a chunk, extensions included, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Why a head cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.
    #[error("parse head")]
    Parse(#[source] httparse::Error),
    /// Larger than the limit.
    #[error("head is too large")]
    TooLarge,
    /// Too many interim answers.
    #[error("too many interim answers")]
    Interim,
    /// The framing of the body is contradictory.
    #[error("contradictory framing of the body")]
    Framing,
    /// The upstream switched protocols without being asked.
    #[error("unexpected switch of protocols")]
    Switch,
}

/// The head of an answer, hop-by-hop headers left out.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Whether the upstream keeps the connection open.
    pub(super) keep_alive: bool,
    pub(super) decoder: BodyDecoder,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum BodyDecoder {
    /// So many bytes are missing.
    Length(u64),
    /// Chunked coding.
    Chunked(Chunk),
    /// With the connection.
    Close,
    /// All read.
    Done,
    /// Read with the head, not yet handed on.
    Whole(Bytes),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Chunk {
    /// The line that opens a chunk is next.
    Size,
    /// So many bytes of the chunk are missing.
    Data(u64),
    /// The line end behind a chunk is next.
    End,
    /// Trailers or the last line end are next.
    Trailers,
}

/// One step of decoding.
pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing without more input.
    More,
    End,
}

/// What the headers say about framing and the connection.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// Headers that `connection` names: they concern the connection, too (RFC 9110 §7.6.1).
    nominated: Vec<HeaderName>,
}

/// Where a header line stands in the head. Small, because there is room for many on the stack.
#[derive(Debug, Clone, Copy, Default)]
struct LineAt {
    name_at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

/// Takes a complete head off `buf`; `None` if it is not complete.
pub(super) fn head(buf: &mut BytesMut, method: &Method) -> Result<Option<Head>, HeadError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config
        .parse_response_with_uninit_headers(&mut response, buf, &mut lines)
        .map_err(HeadError::Parse)?;
    let httparse::Status::Complete(head_len) = parsed else {
        return Ok(None);
    };
    let code = response.code.unwrap_or(0);
    let status =
        StatusCode::from_u16(code).map_err(|_| HeadError::Parse(httparse::Error::Status))?;
    let minor_version = response.version.unwrap_or(0);

    if head_len > RESPONSE_HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge);
    }
    // The borrowed lines become places before the head is cut off the buffer.
    let mut places = [LineAt::default(); HEADERS_MAX];
    let count = response.headers.len();
    for (place, line) in places.iter_mut().zip(response.headers.iter()) {
        *place = LineAt::of(line, buf);
    }
    let bytes = buf.split_to(head_len).freeze();

    let mut headers = HeaderMap::with_capacity(count);
    let mut framing = Framing::default();
    for place in &places[..count] {
        let name = HeaderName::from_bytes(&bytes[place.name()])
            .map_err(|_| HeadError::Parse(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(place.value()))
            .map_err(|_| HeadError::Parse(httparse::Error::HeaderValue))?;
        if framing.see(&name, &value)? {
            headers.append(name, value);
        }
    }
    for name in &framing.nominated {
        headers.remove(name);
    }
    // Two framings are a sign of trouble: the length must go (RFC 9112 §6.3), and so must the
    // connection after this answer.
    if framing.chunked && headers.remove(header::CONTENT_LENGTH).is_some() {
        framing.close = true;
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::Switch);
    }
    let decoder = framing.decoder(status, method);
    let keep_alive = !matches!(decoder, BodyDecoder::Close)
        && if minor_version == 0 {
            framing.keep_alive
        } else {
            !framing.close
        };
    Ok(Some(Head {
        status,
        headers,
        keep_alive,
        decoder,
    }))
}

// === impl LineAt ===

impl LineAt {
    /// The place of a line that was parsed from `head`.
    fn of(line: &httparse::Header<'_>, head: &[u8]) -> Self {
        let at = |part: &[u8]| part.as_ptr() as usize - head.as_ptr() as usize;
        // No head is longer than what 16 bits can tell.
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Self {
            name_at: short(at(line.name.as_bytes())),
            name_len: short(line.name.len()),
            value_at: short(at(line.value)),
            value_len: short(line.value.len()),
        }
    }

    fn name(self) -> Range<usize> {
        let at = usize::from(self.name_at);
        at..at + usize::from(self.name_len)
    }

    fn value(self) -> Range<usize> {
        let at = usize::from(self.value_at);
        at..at + usize::from(self.value_len)
    }
}

// === impl Framing ===

impl Framing {
    /// Notes what a header says; whether it is passed on.
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, HeadError> {
        if name == header::CONTENT_LENGTH {
            let length = content_length(value.as_bytes()).ok_or(HeadError::Framing)?;
            match self.length.replace(length) {
                None => return Ok(true),
                Some(before) if before == length => return Ok(false),
                Some(_) => return Err(HeadError::Framing),
            }
        }
        if name == header::TRANSFER_ENCODING {
            // Only the one coding that we can take off; it must stand alone.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Framing);
            }
            self.chunked = true;
            return Ok(false);
        }
        if name == header::CONNECTION {
            let tokens = value
                .as_bytes()
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii);
            for token in tokens {
                let close = token.eq_ignore_ascii_case(b"close");
                let keep_alive = token.eq_ignore_ascii_case(b"keep-alive");
                self.close |= close;
                self.keep_alive |= keep_alive;
                if !close && !keep_alive {
                    self.nominated.extend(HeaderName::from_bytes(token));
                }
            }
            return Ok(false);
        }
        Ok(!is_hop_by_hop(name))
    }

    /// RFC 9112 §6.3.
    fn decoder(&self, status: StatusCode, method: &Method) -> BodyDecoder {
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        match (bodiless, self.chunked, self.length) {
            (true, _, _) | (false, false, Some(0)) => BodyDecoder::Done,
            (false, true, _) => BodyDecoder::Chunked(Chunk::Size),
            (false, false, Some(length)) => BodyDecoder::Length(length),
            (false, false, None) => BodyDecoder::Close,
        }
    }
}

/// Digits only, as RFC 9110 §8.6 has it; no sign, no list.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

// === impl BodyDecoder ===

impl BodyDecoder {
    /// The whole body, if it is all in `buf` already; anything behind it stays there.
    pub(super) fn take_whole(&mut self, buf: &mut BytesMut) -> Option<Bytes> {
        let bytes = match *self {
            Self::Done => Bytes::new(),
            Self::Length(length) if length <= buf.len() as u64 => {
                buf.split_to(usize::try_from(length).ok()?).freeze()
            }
            _ => return None,
        };
        *self = Self::Done;
        Some(bytes)
    }

    /// Takes back what `take_whole` gave, when it cannot be handed on yet.
    pub(super) fn give_back(&mut self, bytes: Bytes) {
        *self = if bytes.is_empty() {
            Self::Done
        } else {
            Self::Whole(bytes)
        };
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) fn ends_with_stream(&self) -> bool {
        matches!(self, Self::Close)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(length) => SizeHint::with_exact(*length),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Done => SizeHint::with_exact(0),
            Self::Chunked(_) | Self::Close => SizeHint::default(),
        }
    }

    /// The next part of the body that `buf` has.
    pub(super) fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, ReadError> {
        match self {
            Self::Done => Ok(Decoded::End),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Done;
                Ok(Decoded::Data(bytes))
            }
            _ if buf.is_empty() => Ok(Decoded::More),
            Self::Close => Ok(Decoded::Data(buf.split().freeze())),
            Self::Length(missing) => {
                let data = take_up_to(buf, missing);
                if *missing == 0 {
                    *self = Self::Done;
                }
                Ok(Decoded::Data(data))
            }
            Self::Chunked(chunk) => {
                let decoded = chunk.decode(buf)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(decoded)
            }
        }
    }
}

fn take_up_to(buf: &mut BytesMut, missing: &mut u64) -> Bytes {
    let len = usize::try_from(*missing)
        .unwrap_or(usize::MAX)
        .min(buf.len());
    *missing -= len as u64;
    buf.split_to(len).freeze()
}

// === impl Chunk ===

impl Chunk {
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, ReadError> {
        loop {
            match self {
                Self::Size => match httparse::parse_chunk_size(buf) {
                    Ok(httparse::Status::Complete((used, size))) => {
                        buf.advance(used);
                        *self = if size == 0 {
                            Self::Trailers
                        } else {
                            Self::Data(size)
                        };
                    }
                    Ok(httparse::Status::Partial) if buf.len() < CHUNK_LINE_BYTES_MAX => {
                        return Ok(Decoded::More);
                    }
                    Ok(httparse::Status::Partial) | Err(_) => return Err(ReadError::Chunked),
                },
                Self::Data(missing) => {
                    if buf.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let data = take_up_to(buf, missing);
                    if *missing == 0 {
                        *self = Self::End;
                    }
                    return Ok(Decoded::Data(data));
                }
                Self::End => match buf.get(..2) {
                    Some(b"\r\n") => {
                        buf.advance(2);
                        *self = Self::Size;
                    }
                    None if b"\r\n".starts_with(buf) => return Ok(Decoded::More),
                    Some(_) | None => return Err(ReadError::Chunked),
                },
                Self::Trailers => return trailers(buf),
            }
        }
    }
}

/// The trailer section, or the empty line that stands for none.
fn trailers(buf: &mut BytesMut) -> Result<Decoded, ReadError> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Decoded::End);
    }
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(buf, &mut lines) {
        Ok(httparse::Status::Complete((used, lines))) => {
            let mut trailers = HeaderMap::with_capacity(lines.len());
            for line in lines.iter() {
                let name = HeaderName::from_bytes(line.name.as_bytes());
                let value = HeaderValue::from_bytes(line.value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(ReadError::Chunked);
                };
                trailers.append(name, value);
            }
            buf.advance(used);
            Ok(Decoded::Trailers(trailers))
        }
        Ok(httparse::Status::Partial) if buf.len() < TRAILER_BYTES_MAX => Ok(Decoded::More),
        Ok(httparse::Status::Partial) | Err(_) => Err(ReadError::Chunked),
    }
}
