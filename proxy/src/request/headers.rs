//! What the proxy itself does with headers: hop-by-hop, `x-forwarded-*`, request id.

mod present;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::body::Body;
use crate::message::line::content_length;
use crate::message::target::{is_authority, is_visible};
use crate::request::explain::X_EXPLAIN;
use crate::request::limits::Limits;
use crate::request::malformed::Malformed;
use crate::request::mirror::X_MIRRORED;
use crate::request::path::{Normalization, normalize};
use crate::request::{Arrived, Downstream, Rejection};
use crate::table::Direction;
use crate::upstream::{Outgoing, Sending};
use present::Present;

/// `x-forwarded-proto`.
pub(crate) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-forwarded-for`.
pub(crate) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Who callers proved to be.
pub(crate) static X_FORWARDED_CLIENT_CERT: HeaderName =
    HeaderName::from_static("x-forwarded-client-cert");
/// `x-request-id`.
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The path before a rewrite.
pub(crate) static X_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The authority before a rewrite.
pub(crate) static X_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
/// Which attempt an upstream sees, from 1.
pub(crate) static X_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// A request id of our own, as text.
pub(crate) type RequestId = [u8; 36];

/// Headers that the proxy adds to a request that came without them. As long as no rule and no log wants
/// to see them they stay apart and are written out behind the others, which is cheaper.
#[derive(Debug, Default)]
pub(crate) struct OwnHeaders {
    /// `x-forwarded-proto`.
    pub(crate) proto: Option<Proto>,
    /// `x-forwarded-for`, at gateways.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// `x-forwarded-client-cert`.
    pub(crate) client_cert: Option<HeaderValue>,
    /// `x-request-id`.
    pub(crate) id: Option<RequestId>,
}

/// How a request came, as `x-forwarded-proto` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proto {
    Http,
    Https,
}

/// Longest `x-request-id` of a caller that is passed on, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 256;

/// Whether a header concerns one connection alone and is never passed on (RFC 9110 §7.6.1).
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// Whether a header says something to the proxy that gets it, and nothing to who is behind it: how to
/// retry, how long to wait, whom to trust. What is said to us we do not say to the upstream.
fn is_instruction(name: &str) -> bool {
    matches!(
        name,
        "x-envoy-attempt-count"
            | "x-envoy-expected-rq-timeout-ms"
            | "x-envoy-force-trace"
            | "x-envoy-hedge-on-per-try-timeout"
            | "x-envoy-internal"
            | "x-envoy-max-retries"
            | "x-envoy-retriable-header-names"
            | "x-envoy-retriable-status-codes"
            | "x-envoy-retry-grpc-on"
            | "x-envoy-retry-on"
            | "x-envoy-upstream-alt-stat-name"
            | "x-envoy-upstream-rq-per-try-timeout-ms"
            | "x-envoy-upstream-rq-timeout-ms"
    )
}

/// Whether a request's header is passed on; of `te` only `trailers` is (RFC 9110 §10.1.4). Which
/// attempt it is, each attempt says for itself.
pub(crate) fn passes(name: &HeaderName, value: &HeaderValue) -> bool {
    if *name == header::TE {
        return value.as_bytes().eq_ignore_ascii_case(b"trailers");
    }
    !is_hop_by_hop(name) && *name != X_ATTEMPT_COUNT
}

/// Where a request comes in, and by which limits.
pub(crate) struct Reception<'r> {
    pub(crate) downstream: &'r Downstream,
    pub(crate) direction: Direction,
    pub(crate) limits: &'r Limits,
    /// How far its path is brought to normal form.
    pub(crate) normalization: Normalization,
    /// The caller may know what becomes of the request, and asks.
    pub(crate) explains: bool,
}

/// Takes a request in: finds its authority, brings its path to normal form, drops what concerned
/// the connection, and adds what the next hop should know.
pub(crate) fn receive(
    arrived: Arrived,
    body: Body,
    reception: &Reception<'_>,
    random: impl FnOnce() -> u128,
) -> Result<Outgoing, Rejection> {
    let Arrived {
        mut head,
        spelling,
        interim,
        upgrade,
        ..
    } = arrived;
    check_target(&head)?;
    if head.version == Version::HTTP_2 {
        check_http2(&head, reception.limits)?;
        unite_lines(&mut head.headers)?;
    }
    let authority = authority(&head)?;
    let rewritten = rewritten(&head.uri, reception.normalization)?;
    let mut present = Present::of(&head.headers);
    clean(&mut head.headers, &mut present, reception);
    let own = own_headers(&mut head.headers, present, reception, random);
    Ok(Outgoing {
        own,
        head,
        rewritten,
        authority,
        body,
        spelling,
        interim,
        upgrade,
        token: None,
        sending: Sending::default(),
    })
}

/// Removes what the caller may not say, or not to the upstream.
fn clean(headers: &mut HeaderMap, present: &mut Present, reception: &Reception<'_>) {
    if present.instruction {
        remove_instructions(headers);
    }
    if present.lookalike {
        remove_lookalikes(headers, reception.direction);
    }
    if present.te {
        reduce_te(headers);
    }
    if present.explain && !reception.explains {
        headers.remove(&X_EXPLAIN);
    }
    if !matches!(reception.direction, Direction::Gateway) {
        return;
    }
    // Clients from outside do not mirror, and what calls itself a copy may be treated as one.
    if present.mirrored {
        headers.remove(&X_MIRRORED);
    }
    // Behind a gateway the header says how the client came to it, and nothing that the client made up.
    if std::mem::take(&mut present.forwarded_proto) {
        headers.remove(&X_FORWARDED_PROTO);
    }
}

/// What the next hop should know, as far as the caller did not say it: what it did say is amended.
fn own_headers(
    headers: &mut HeaderMap,
    present: Present,
    reception: &Reception<'_>,
    random: impl FnOnce() -> u128,
) -> OwnHeaders {
    let security = reception.downstream.security.as_ref();
    let proto = match security {
        _ if present.forwarded_proto => None,
        None => Some(Proto::Http),
        Some(_) => Some(Proto::Https),
    };
    // Nobody proves anything to the proxy beside it.
    let client = security
        .filter(|_| !matches!(reception.direction, Direction::Outbound))
        .and_then(|security| security.forwarded.as_ref());
    let client_cert = match present.forwarded_client_cert {
        false => client.cloned(),
        true => {
            tell_client(headers, client, reception.direction);
            None
        }
    };
    let caller = match reception.direction {
        Direction::Gateway => reception.downstream.peer_text(),
        Direction::Inbound | Direction::Outbound => None,
    };
    let forwarded_for = caller.and_then(|caller| match present.forwarded_for {
        true => extend_forwarded_for(headers, caller),
        false => Some(caller.clone()),
    });
    let lacks_id = !present.request_id || !has_usable_id(headers);
    if lacks_id && present.request_id {
        headers.remove(&X_REQUEST_ID);
    }
    OwnHeaders {
        proto,
        forwarded_for,
        client_cert,
        id: lacks_id.then(|| request_id(random())),
    }
}

/// Path and query in normal form, if they are written otherwise.
pub(crate) fn rewritten(
    uri: &Uri,
    normalization: Normalization,
) -> Result<Option<String>, Rejection> {
    // Behind an authority a query needs no path before it.
    let rootless = || {
        let target = uri.path_and_query();
        target.is_some_and(|it| it.as_str().starts_with('?'))
    };
    match normalize(uri.path(), normalization) {
        Ok(None) if rootless() => Ok(uri.query().map(|query| format!("/?{query}"))),
        Ok(None) => Ok(None),
        Ok(Some(path)) => Ok(Some(match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        })),
        Err(_) => Err(Rejection::BadRequest("invalid request target")),
    }
}

/// Only a path, or a URI with one, leads anywhere (RFC 9112 §3.2), and a tunnel to the authority that
/// it names; a question to the server as a whole has no rule that could match. Tunnels within HTTP/2
/// are not carried.
fn check_target(head: &http::request::Parts) -> Result<(), Rejection> {
    if head.method == Method::CONNECT {
        return match head.version {
            Version::HTTP_2 => Err(Rejection::NoRule),
            _ => Ok(()),
        };
    }
    if head.uri.path() == "*" {
        return Err(match head.method {
            Method::OPTIONS => Rejection::NoRule,
            _ => Rejection::BadRequest("asterisk as request target"),
        });
    }
    if head.uri.scheme().is_none() && head.uri.authority().is_some() {
        return Err(Rejection::BadRequest("request target is no path"));
    }
    Ok(())
}

/// `:authority`, the authority of an absolute target, or `Host` (RFC 9112 §3.2); what it is made of was
/// looked at before.
fn authority(head: &http::request::Parts) -> Result<HeaderValue, Malformed> {
    if let Some(authority) = head.uri.authority() {
        return HeaderValue::from_str(authority.as_str()).map_err(|_| Malformed::Host);
    }
    match head.headers.get(header::HOST) {
        Some(host) => Ok(host.clone()),
        None if head.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        None => Err(Malformed::Host),
    }
}

/// What the parser of HTTP/1 refuses and that of HTTP/2 does not: the request may go on by HTTP/1.
fn check_http2(head: &http::request::Parts, limits: &Limits) -> Result<(), Malformed> {
    if head.headers.len() > limits.headers_max {
        return Err(Malformed::TooManyHeaders);
    }
    let target = head.uri.path_and_query();
    let target = target.map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes_max {
        return Err(Malformed::TargetTooLong);
    }
    if !is_visible(target.as_bytes()) {
        return Err(Malformed::Target);
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if !lengths.all(|length| content_length(length.as_bytes()).is_some()) {
        return Err(Malformed::Framing);
    }
    // One host, whether it is said once or twice (RFC 9113 §8.3.1).
    let named = head.uri.authority().map(|named| named.as_str().as_bytes());
    let written = head.headers.get_all(header::HOST).iter();
    let mut hosts = named.into_iter().chain(written.map(HeaderValue::as_bytes));
    let first = hosts.next().filter(|host| is_authority(host));
    let lines = head.headers.get_all(header::HOST).iter().count();
    let clear = first.is_some_and(|first| hosts.all(|host| host.eq_ignore_ascii_case(first)));
    match clear && lines <= 1 {
        true => Ok(()),
        false => Err(Malformed::Host),
    }
}

/// Makes one line of what HTTP/2 may send as several: the parts of a cookie (RFC 9113 §8.2.3), and
/// lengths that agree (RFC 9110 §8.6). HTTP/1.1 sends one cookie, and its parser checks lengths.
fn unite_lines(headers: &mut HeaderMap) -> Result<(), Rejection> {
    if let Some(cookie) = joined(headers, &header::COOKIE, b"; ") {
        headers.insert(header::COOKIE, cookie);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(first), Some(second)) = (lengths.next(), lengths.next()) else {
        return Ok(());
    };
    if second != first || lengths.any(|length| length != first) {
        return Err(Rejection::BadRequest("lengths that differ"));
    }
    let length = first.clone();
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(())
}

/// All lines of `name` as one; none if there are fewer than two.
fn joined(headers: &HeaderMap, name: &HeaderName, separator: &[u8]) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut joined = lines.next().map(|second| {
        let lines = [first.as_bytes(), second.as_bytes()];
        lines.join(separator)
    })?;
    for line in lines {
        joined.extend_from_slice(separator);
        joined.extend_from_slice(line.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

/// Removes what the caller tells a proxy; what a rule sets later is meant for the upstream.
fn remove_instructions(headers: &mut HeaderMap) {
    let told: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_instruction(name.as_str()))
        .cloned()
        .collect();
    for name in told {
        headers.remove(name);
    }
}

/// Removes what applications that do not tell `_` from `-` take for a header that is removed or
/// written here.
fn remove_lookalikes(headers: &mut HeaderMap, direction: Direction) {
    let is_lookalike = |name: &&HeaderName| {
        if !name.as_str().contains('_') {
            return false;
        }
        let meant = name.as_str().replace('_', "-");
        let of_gateways = ["x-forwarded-for", "x-forwarded-proto", "x-mirrored"];
        meant.starts_with("x-meshproxy-")
            || X_FORWARDED_CLIENT_CERT == meant.as_str()
            || is_instruction(&meant)
            || matches!(direction, Direction::Gateway) && of_gateways.contains(&meant.as_str())
    };
    let found: Vec<HeaderName> = headers.keys().filter(is_lookalike).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Leaves `trailers` of what `te` says, which is all that holds beyond the connection.
fn reduce_te(headers: &mut HeaderMap) {
    match headers.get(header::TE) {
        None => return,
        Some(te) if te == "trailers" => return,
        Some(_) => {}
    }
    let lines = headers.get_all(header::TE).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

/// Whether the caller's `x-request-id` can be passed on.
fn has_usable_id(headers: &HeaderMap) -> bool {
    let id = headers.get(&X_REQUEST_ID);
    id.is_some_and(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX)
}

/// Says who the client is in an `x-forwarded-client-cert` that is there already: in front of a workload
/// behind what callers said who proved who they are, at a gateway alone. Nobody else is believed.
fn tell_client(headers: &mut HeaderMap, client: Option<&HeaderValue>, direction: Direction) {
    let told = match (client, direction) {
        (Some(client), Direction::Inbound) => {
            let lines = headers.get_all(&X_FORWARDED_CLIENT_CERT).iter();
            let lines = lines.chain([client]).map(HeaderValue::as_bytes);
            let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
            HeaderValue::from_bytes(&lines.join(&b',')).ok()
        }
        (Some(client), Direction::Gateway) => Some(client.clone()),
        (Some(_), Direction::Outbound) | (None, _) => None,
    };
    headers.remove(&X_FORWARDED_CLIENT_CERT);
    if let Some(told) = told {
        headers.insert(X_FORWARDED_CLIENT_CERT.clone(), told);
    }
}

/// Whether many applications take one name for the other: they do not tell `_` from `-`.
pub(crate) fn is_alike(name: &HeaderName, other: &HeaderName) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let (name, other) = (name.as_str().bytes(), other.as_str().bytes());
    name.len() == other.len() && name.map(plain).eq(other.map(plain))
}

/// Adds the caller to `x-forwarded-for`: behind all that is there, whatever the number of lines, so
/// that nothing is left to be added.
fn extend_forwarded_for(headers: &mut HeaderMap, caller: &HeaderValue) -> Option<HeaderValue> {
    let lines = headers.get_all(&X_FORWARDED_FOR).iter().chain([caller]);
    let lines: Vec<&[u8]> = lines
        .map(HeaderValue::as_bytes)
        .filter(|line| !line.is_empty())
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b',')) {
        headers.insert(X_FORWARDED_FOR.clone(), joined);
    }
    None
}

// === impl OwnHeaders ===

impl OwnHeaders {
    /// Puts them among the others.
    pub(crate) fn settle(&mut self, headers: &mut HeaderMap) {
        if let Some(proto) = self.proto.take() {
            let proto = HeaderValue::from_static(proto.as_str());
            headers.insert(X_FORWARDED_PROTO.clone(), proto);
        }
        if let Some(caller) = self.forwarded_for.take() {
            headers.insert(X_FORWARDED_FOR.clone(), caller);
        }
        if let Some(client) = self.client_cert.take() {
            headers.insert(X_FORWARDED_CLIENT_CERT.clone(), client);
        }
        if let Some(id) = self.id.take()
            && let Ok(id) = HeaderValue::from_bytes(&id)
        {
            headers.insert(X_REQUEST_ID.clone(), id);
        }
    }
}

// === impl Proto ===

impl Proto {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Every byte as two hexadecimal digits.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// A random (version 4) UUID (RFC 9562 §5.4).
fn request_id(random: u128) -> RequestId {
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let bits = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (place, byte) in PLACES.into_iter().zip(bits.to_be_bytes()) {
        text[place..place + 2].copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

#[cfg(test)]
mod tests;
