//! Reading an answer: its head, and the framing of its body (RFC 9112 §6).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use crate::message::chunked::{Chunked, Decoded, take_up_to};
use crate::message::line::{ConnectionOptions, LineAt, content_length};
use crate::message::spelling::Spelling;
use crate::request::headers::is_hop_by_hop;
use crate::request::limits::HEADERS_MAX;
use crate::upstream::http1::{Asked, KeepAlive, ReadError};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

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
    /// What the upstream says of how long.
    pub(super) said: Option<KeepAlive>,
    pub(super) decoder: BodyDecoder,
    /// How it was written.
    pub(super) spelling: Spelling,
    /// With status 101: what the upstream switches to.
    pub(super) switched_to: Option<HeaderValue>,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum BodyDecoder {
    /// So many bytes are missing.
    Length(u64),
    /// Chunked coding.
    Chunked(Chunked),
    /// With the connection.
    Close,
    /// All read.
    Done,
    /// Read with the head, not yet handed on.
    Whole(Bytes),
}

/// What the headers say about framing and the connection.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    options: ConnectionOptions,
    /// What the upstream switches to.
    upgrade: Option<HeaderValue>,
    said: Option<KeepAlive>,
}

/// Takes a complete head off `buf`; `None` if it is not complete.
pub(super) fn head(
    buf: &mut BytesMut,
    places: &mut Vec<LineAt>,
    asked: &Asked<'_>,
) -> Result<Option<Head>, HeadError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let lines = &mut lines[..asked.limits.headers_max.min(HEADERS_MAX)];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config
        .parse_response_with_uninit_headers(&mut response, buf, lines)
        .map_err(HeadError::Parse)?;
    let httparse::Status::Complete(head_len) = parsed else {
        return Ok(None);
    };
    let code = response.code.unwrap_or(0);
    let status =
        StatusCode::from_u16(code).map_err(|_| HeadError::Parse(httparse::Error::Status))?;
    let minor_version = response.version.unwrap_or(0);

    if head_len > asked.limits.head_bytes_max {
        return Err(HeadError::TooLarge);
    }
    // The borrowed lines become places before the head is cut off the buffer.
    let count = response.headers.len();
    places.clear();
    places.extend(response.headers.iter().map(|line| LineAt::of(line, buf)));
    let reason = response.reason.unwrap_or_default();
    let reason_at = match reason.is_empty() {
        true => 0..0,
        false => {
            let at = reason.as_ptr() as usize - buf.as_ptr() as usize;
            at..at + reason.len()
        }
    };
    let bytes = buf.split_to(head_len).freeze();

    let mut headers = HeaderMap::with_capacity(count);
    let mut spelling = Spelling::new(bytes.clone(), count);
    spelling.reason_at(reason_at);
    let mut framing = Framing::default();
    for place in &*places {
        let name = HeaderName::from_bytes(&bytes[place.name()])
            .map_err(|_| HeadError::Parse(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(place.value()))
            .map_err(|_| HeadError::Parse(httparse::Error::HeaderValue))?;
        if framing.see(&name, &value)? {
            spelling.push(place.name());
            headers.append(name, value);
        }
    }
    framing.options.remove_nominated(&mut headers);
    // Two framings are a sign of trouble: the length must go (RFC 9112 §6.3), and so must the
    // connection after this answer.
    if framing.chunked && headers.remove(header::CONTENT_LENGTH).is_some() {
        framing.options.close = true;
    }
    let decoder = framing.decoder(status, asked.method);
    let keep_alive = !matches!(decoder, BodyDecoder::Close)
        && if minor_version == 0 {
            framing.options.keep_alive
        } else {
            !framing.options.close
        };
    Ok(Some(Head {
        status,
        headers,
        keep_alive,
        said: framing.said,
        decoder,
        spelling,
        switched_to: framing.upgrade,
    }))
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
            self.options.see(value.as_bytes());
            return Ok(false);
        }
        if name == header::UPGRADE {
            self.upgrade = Some(value.clone());
        }
        if is_hop_by_hop(name) {
            if *name == KEEP_ALIVE {
                self.said = Some(KeepAlive::parse(value));
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// RFC 9112 §6.3.
    fn decoder(&self, status: StatusCode, method: &Method) -> BodyDecoder {
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        match (bodiless, self.chunked, self.length) {
            (true, _, _) | (false, false, Some(0)) => BodyDecoder::Done,
            (false, true, _) => BodyDecoder::Chunked(Chunked::default()),
            (false, false, Some(length)) => BodyDecoder::Length(length),
            (false, false, None) => BodyDecoder::Close,
        }
    }
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
                let decoded = chunk.decode(buf).map_err(ReadError::Chunked)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(decoded)
            }
        }
    }
}
