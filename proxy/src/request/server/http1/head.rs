//! Reading the head of a request, and refusing whatever two parsers could read differently.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, Request, Uri, Version};

use crate::message::chunked::Chunked;
use crate::message::line::{ConnectionOptions, LineAt, content_length, has_bare_lf};
use crate::message::spelling::Spelling;
use crate::message::target::{is_authority, is_visible};
use crate::request::limits::{HEADERS_MAX, Limits};
use crate::request::malformed::Malformed;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Box<http::request::Parts>,
    pub(super) spelling: Spelling,
    pub(super) coding: Coding,
    /// Whether the client will send another request on the connection.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
    /// The protocol that the client wants to switch to, if we carry it.
    pub(super) upgrade: Option<HeaderValue>,
}

/// What remains of a request's body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Coding {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
}

/// What the lines say of framing and connection.
#[derive(Debug, Default)]
struct Lines {
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    options: ConnectionOptions,
    upgrade: Option<HeaderValue>,
}

/// Takes a complete head off `buf`; none if it is not complete. `places` is memory to work with.
pub(super) fn parse(
    buf: &mut BytesMut,
    places: &mut Vec<LineAt>,
    limits: &Limits,
) -> Result<Option<Head>, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let lines = &mut lines[..limits.headers_max.min(HEADERS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let head_len = match config.parse_request_with_uninit_headers(&mut request, buf, lines) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) => return incomplete(buf, limits),
        Err(error) => return Err(refusal(error, buf)),
    };
    if has_bare_lf(&buf[..head_len]) {
        return Err(Malformed::BareLineFeed);
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Malformed::Syntax);
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::Syntax)?;
    let target_at = target.as_ptr() as usize - buf.as_ptr() as usize;
    let target_at = target_at..target_at + target.len();
    places.clear();
    places.extend(request.headers.iter().map(|line| LineAt::of(line, buf)));
    if head_len > limits.head_bytes_max {
        return Err(Malformed::HeadTooLarge);
    }
    let bytes = buf.split_to(head_len).freeze();
    let target = target_of(bytes.slice(target_at), &method, limits)?;
    let version = match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    // In a box from here on: it goes a long way.
    let mut parts = Box::new(Request::new(()).into_parts().0);
    (parts.method, parts.uri, parts.version) = (method, target, version);
    fields(bytes, places, parts).map(Some)
}

/// Whether more of a head may come.
fn incomplete(buf: &[u8], limits: &Limits) -> Result<Option<Head>, Malformed> {
    if buf.len() < limits.head_bytes_max {
        return Ok(None);
    }
    // Without a line end all of it is the request line.
    Err(match memchr::memchr(b'\n', buf) {
        None => Malformed::TargetTooLong,
        Some(_) => Malformed::HeadTooLarge,
    })
}

fn refusal(error: httparse::Error, buf: &[u8]) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyHeaders,
        httparse::Error::Version => Malformed::Version,
        _ if has_bare_lf(buf) => Malformed::BareLineFeed,
        _ => Malformed::Syntax,
    }
}

/// The target, which must be made of what RFC 3986 allows in a URI, without a fragment.
fn target_of(target: Bytes, method: &Method, limits: &Limits) -> Result<Uri, Malformed> {
    if target.len() > limits.target_bytes_max {
        return Err(Malformed::TargetTooLong);
    }
    if !is_visible(&target) {
        return Err(Malformed::Target);
    }
    let origin_form = target.starts_with(b"/");
    let asterisk = *target == *b"*";
    let uri = Uri::from_maybe_shared(target).map_err(|_| Malformed::Target)?;
    let authority = uri.authority().map(|authority| authority.as_str());
    let known_form = match *method {
        // Authority-form is a host with a port (RFC 9112 §3.2.3).
        Method::CONNECT => {
            uri.scheme().is_none()
                && uri.path_and_query().is_none()
                && uri.port_u16().is_some_and(|port| port > 0)
        }
        Method::OPTIONS if asterisk => true,
        _ if asterisk => false,
        _ => origin_form || uri.scheme().is_some(),
    };
    let clear = authority.is_none_or(|authority| is_authority(authority.as_bytes()));
    match known_form && clear && uri.scheme_str().is_none_or(is_http) {
        true => Ok(uri),
        false => Err(Malformed::Target),
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Reads the header lines at `places` of `head`.
fn fields(
    head: Bytes,
    places: &[LineAt],
    mut parts: Box<http::request::Parts>,
) -> Result<Head, Malformed> {
    let mut spelling = Spelling::new(head.clone(), places.len());
    let mut lines = Lines::default();
    let mut expects_continue = false;
    parts.headers.reserve(places.len());
    for place in places {
        let name = HeaderName::from_bytes(&head[place.name()]).map_err(|_| Malformed::Syntax)?;
        let value = HeaderValue::from_maybe_shared(head.slice(place.value()))
            .map_err(|_| Malformed::Syntax)?;
        if lines.see(&name, &value)? {
            continue;
        }
        expects_continue |=
            name == header::EXPECT && value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        spelling.push(place.name());
        parts.headers.append(name, value);
    }
    lines.check(&parts)?;
    lines.options.remove_nominated(&mut parts.headers);
    let coding = match (lines.chunked, lines.length) {
        (true, _) => Coding::Chunked(Chunked::default()),
        (false, length) => Coding::Length(length.unwrap_or(0)),
    };
    let bodiless = matches!(coding, Coding::Length(0));
    let asks = parts.version == Version::HTTP_11 && lines.options.upgrade && bodiless;
    let upgrade = lines.upgrade.take().filter(|_| asks);
    if let Some(protocol) = &upgrade {
        // Rules may look at both; they are written anew for the upstream.
        let connection = HeaderValue::from_static("Upgrade");
        parts.headers.insert(header::CONNECTION, connection);
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
    Ok(Head {
        keep_alive: lines.keeps_alive(parts.version),
        expects_continue: expects_continue && !bodiless && parts.version == Version::HTTP_11,
        parts,
        spelling,
        coding,
        upgrade,
    })
}

/// Protocols that are carried after a switch; any other request to switch is sent on as a plain
/// request, as RFC 9110 §7.8 lets a server do. Those that speak of this connection, such as `h2c`
/// and `TLS/1.2`, could not be carried: only we could switch to them.
fn is_carried(protocol: &[u8]) -> bool {
    const CARRIED: [&[u8]; 3] = [b"websocket", b"spdy/3.1", b"tcp"];
    CARRIED
        .iter()
        .any(|carried| protocol.eq_ignore_ascii_case(carried))
}

// === impl Lines ===

impl Lines {
    /// Notes what a line says; whether it concerns the connection alone and is done with.
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Malformed> {
        match *name {
            header::CONTENT_LENGTH => {
                let length = content_length(value.as_bytes()).ok_or(Malformed::Framing)?;
                match self.length.replace(length) {
                    None => Ok(false),
                    Some(_) => Err(Malformed::Framing),
                }
            }
            header::TRANSFER_ENCODING => {
                if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::Coding);
                }
                match std::mem::replace(&mut self.chunked, true) {
                    false => Ok(true),
                    true => Err(Malformed::Framing),
                }
            }
            header::CONNECTION => {
                self.options.see(value.as_bytes());
                Ok(true)
            }
            header::UPGRADE => {
                self.upgrade = is_carried(value.as_bytes()).then(|| value.clone());
                Ok(true)
            }
            header::HOST => {
                self.hosts += 1;
                is_authority(value.as_bytes())
                    .then_some(false)
                    .ok_or(Malformed::Host)
            }
            _ => Ok(crate::request::headers::is_hop_by_hop(name)),
        }
    }

    /// What only all lines together show.
    fn check(&self, parts: &http::request::Parts) -> Result<(), Malformed> {
        let old = parts.version == Version::HTTP_10;
        // Two framings are the classic of request smuggling; HTTP/1.0 has no chunks (RFC 9112 §6.1).
        if self.chunked && (self.length.is_some() || old) {
            return Err(Malformed::Framing);
        }
        // A client of HTTP/1.1 must say the host, once (RFC 9112 §3.2).
        if self.hosts > 1 || (self.hosts == 0 && !old) {
            return Err(Malformed::Host);
        }
        match self.options.nominates(&header::HOST) {
            true => Err(Malformed::Host),
            false => Ok(()),
        }
    }

    fn keeps_alive(&self, version: Version) -> bool {
        match version {
            Version::HTTP_10 => self.options.keep_alive && !self.options.close,
            _ => !self.options.close,
        }
    }
}

#[cfg(test)]
mod tests;
