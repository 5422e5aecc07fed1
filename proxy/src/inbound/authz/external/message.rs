//! The messages `CheckRequest` and `CheckResponse` of `envoy.service.auth.v3`, as far as they are used
//! here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode, Version};

use super::{Answer, Change, Changes, Refusal, may_change};
use crate::protobuf::{Fields, Malformed, Message, Value};

/// Fields of `CheckRequest` and `AttributeContext`.
const ATTRIBUTES: u32 = 1;
const SOURCE: u32 = 1;
const DESTINATION: u32 = 2;
const REQUEST: u32 = 4;
const TLS_SESSION: u32 = 12;
/// Of a peer, its address, and the socket address in it.
const ADDRESS: u32 = 1;
const PRINCIPAL: u32 = 4;
const SOCKET_ADDRESS: u32 = 1;
const IP: u32 = 2;
const PORT: u32 = 3;
/// Of the request, and of what is HTTP in it.
const HTTP: u32 = 2;
const ID: u32 = 1;
const METHOD: u32 = 2;
const HEADERS: u32 = 3;
const PATH: u32 = 4;
const HOST: u32 = 5;
const SCHEME: u32 = 6;
const QUERY: u32 = 7;
const SIZE: u32 = 9;
const PROTOCOL: u32 = 10;
const BODY: u32 = 11;
const RAW_BODY: u32 = 12;
/// Of the TLS session.
const SNI: u32 = 1;
/// Of a pair of names and values, also as an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const RAW_VALUE: u32 = 3;

/// Fields of `CheckResponse`, of its status and its two answers.
const STATUS: u32 = 1;
const DENIED: u32 = 2;
const ALLOWED: u32 = 3;
const CODE: u32 = 1;
const DENIED_HEADERS: u32 = 2;
const DENIED_BODY: u32 = 3;
const ALLOWED_HEADERS: u32 = 2;
const ALLOWED_REMOVED: u32 = 5;
const ALLOWED_RESPONSE_HEADERS: u32 = 6;
/// Of a header that is to be set.
const HEADER: u32 = 1;
const APPEND: u32 = 2;
const APPEND_ACTION: u32 = 3;
/// Adds a header if there is none, puts one in the place of another, or only where there is one.
const OVERWRITE_OR_ADD: u64 = 2;

/// What is asked.
#[derive(Debug)]
pub(super) struct Check<'c> {
    pub(super) source: Peer<'c>,
    pub(super) destination: Peer<'c>,
    pub(super) id: &'c str,
    pub(super) method: &'c str,
    pub(super) target: &'c str,
    pub(super) host: &'c str,
    pub(super) scheme: &'static str,
    pub(super) version: Version,
    pub(super) headers: Vec<(&'c str, &'c [u8])>,
    pub(super) body: &'c Bytes,
    /// Whether the body is bytes rather than text.
    pub(super) raw: bool,
    pub(super) server_name: &'c str,
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Peer<'c> {
    pub(super) addr: Option<(IpAddr, u16)>,
    pub(super) principal: &'c str,
}

/// The request in the frame of gRPC.
pub(super) fn encode(check: &Check<'_>) -> Bytes {
    let mut request = Message::default();
    request.message(HTTP, &http(check));
    let mut attributes = Message::default();
    attributes.message(SOURCE, &peer(&check.source));
    attributes.message(DESTINATION, &peer(&check.destination));
    attributes.message(REQUEST, &request);
    if !check.server_name.is_empty() {
        let mut session = Message::default();
        session.text(SNI, check.server_name);
        attributes.message(TLS_SESSION, &session);
    }
    let mut message = Message::default();
    message.message(ATTRIBUTES, &attributes);
    message.framed()
}

fn peer(peer: &Peer<'_>) -> Message {
    let mut message = Message::default();
    if let Some((ip, port)) = peer.addr {
        let mut socket = Message::default();
        socket.text(IP, &ip.to_string());
        socket.number(PORT, port.into());
        let mut address = Message::default();
        address.message(SOCKET_ADDRESS, &socket);
        message.message(ADDRESS, &address);
    }
    message.text(PRINCIPAL, peer.principal);
    message
}

fn http(check: &Check<'_>) -> Message {
    let mut http = Message::default();
    http.text(ID, check.id);
    http.text(METHOD, check.method);
    let pseudo = [
        (":authority", check.host),
        (":method", check.method),
        (":path", check.target),
        (":scheme", check.scheme),
    ];
    let mut headers: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (name, value) in pseudo {
        headers.insert(name, value.as_bytes().to_vec());
    }
    for (name, value) in &check.headers {
        let lines = headers.entry(name).or_default();
        if !lines.is_empty() {
            lines.push(b',');
        }
        lines.extend_from_slice(value);
    }
    for (name, value) in headers {
        let mut entry = Message::default();
        entry.bytes(KEY, name);
        // A text of protocol buffers is UTF-8, which a header need not be.
        entry.bytes(VALUE, String::from_utf8_lossy(&value).as_bytes());
        http.message(HEADERS, &entry);
    }
    http.text(PATH, check.target);
    http.text(HOST, check.host);
    http.text(SCHEME, check.scheme);
    let query = check.target.split_once('?').map_or("", |(_, query)| query);
    http.text(QUERY, query);
    http.number(SIZE, check.body.len() as u64);
    http.text(
        PROTOCOL,
        match check.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
    );
    if !check.body.is_empty() {
        match check.raw {
            true => http.bytes(RAW_BODY, check.body),
            false => http.bytes(BODY, String::from_utf8_lossy(check.body).as_bytes()),
        }
    }
    http
}

/// Reads the answer in its frame.
///
/// # Errors
///
/// If it is none.
pub(super) fn decode(frame: &[u8]) -> Result<Answer, Malformed> {
    let (mut code, mut denied, mut allowed) = (0, None, None);
    let mut fields = Fields::of_frame(frame)?;
    while let Some(field) = fields.next()? {
        match field {
            (STATUS, Value::Bytes(status)) => code = number(status, CODE)?,
            (DENIED, Value::Bytes(message)) => denied = Some(message),
            (ALLOWED, Value::Bytes(message)) => allowed = Some(message),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    match code {
        0 => decode_allowed(allowed.unwrap_or_default()).map(Answer::Allowed),
        _ => {
            let refusal = decode_denied(denied.unwrap_or_default())?;
            Ok(Answer::Denied(Box::new(refusal)))
        }
    }
}

fn decode_allowed(message: &[u8]) -> Result<Changes, Malformed> {
    let mut changes = Changes::default();
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field {
            (ALLOWED_HEADERS, Value::Bytes(option)) => {
                if let Some((name, value, appends)) = decode_header(option)? {
                    changes.request.push(match appends {
                        true => Change::Append(name, value),
                        false => Change::Set(name, value),
                    });
                }
            }
            (ALLOWED_REMOVED, Value::Bytes(name)) => {
                changes
                    .request
                    .extend(HeaderName::from_bytes(name).ok().map(Change::Remove));
            }
            (ALLOWED_RESPONSE_HEADERS, Value::Bytes(option)) => {
                let header = decode_header(option)?.filter(|(name, ..)| may_change(name));
                changes
                    .response
                    .extend(header.map(|(name, value, _)| (name, value)));
            }
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    Ok(changes)
}

fn decode_denied(message: &[u8]) -> Result<Refusal, Malformed> {
    let (mut status, mut headers, mut body) = (StatusCode::FORBIDDEN, Vec::new(), Bytes::new());
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field {
            (STATUS, Value::Bytes(message)) => {
                let code = u16::try_from(number(message, CODE)?).ok();
                let code = code.and_then(|code| StatusCode::from_u16(code).ok());
                // Whoever is refused must not be told that all is well, or to wait for more.
                let refuses = code.filter(|it| !it.is_informational() && !it.is_success());
                status = refuses.unwrap_or(StatusCode::FORBIDDEN);
            }
            (DENIED_HEADERS, Value::Bytes(option)) => {
                let header = decode_header(option)?.filter(|(name, ..)| may_change(name));
                headers.extend(header.map(|(name, value, _)| (name, value)));
            }
            (DENIED_BODY, Value::Bytes(bytes)) => body = Bytes::copy_from_slice(bytes),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    Ok(Refusal {
        provider: "".into(),
        status,
        headers,
        body,
    })
}

/// A header that is to be set, and whether it is added to those of its name; none if it cannot be sent.
fn decode_header(option: &[u8]) -> Result<Option<(HeaderName, HeaderValue, bool)>, Malformed> {
    let (mut name, mut value) = (None, None);
    let (mut appends, mut action) = (false, None);
    let mut fields = Fields::of(option);
    while let Some(field) = fields.next()? {
        match field {
            (HEADER, Value::Bytes(pair)) => {
                let mut pair = Fields::of(pair);
                while let Some(field) = pair.next()? {
                    match field {
                        (KEY, Value::Bytes(bytes)) => name = HeaderName::from_bytes(bytes).ok(),
                        (VALUE | RAW_VALUE, Value::Bytes(bytes)) => {
                            value = HeaderValue::from_bytes(bytes).ok();
                        }
                        (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
                    }
                }
            }
            (APPEND, Value::Bytes(wrapped)) => appends = number(wrapped, 1)? != 0,
            (APPEND_ACTION, Value::Number(number)) => action = Some(number),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    let appends = appends && action.is_none_or(|action| action < OVERWRITE_OR_ADD);
    Ok(name
        .zip(value.or(Some(HeaderValue::from_static(""))))
        .map(|(n, v)| (n, v, appends)))
}

/// The number in a field of a message; 0 if it is not there.
fn number(message: &[u8], wanted: u32) -> Result<u64, Malformed> {
    let mut number = 0;
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        if let (field, Value::Number(value)) = field
            && field == wanted
        {
            number = value;
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(key: &str, value: &str) -> Message {
        let mut pair = Message::default();
        pair.text(KEY, key);
        pair.text(VALUE, value);
        let mut option = Message::default();
        option.message(HEADER, &pair);
        option
    }

    #[test]
    fn an_answer_that_allows_changes_headers() {
        let mut allowed = Message::default();
        allowed.message(ALLOWED_HEADERS, &pair("x-user", "ada"));
        allowed.bytes(ALLOWED_REMOVED, "x-secret");
        allowed.message(ALLOWED_RESPONSE_HEADERS, &pair("x-seen", "1"));
        let mut answer = Message::default();
        answer.message(STATUS, &Message::default());
        answer.message(ALLOWED, &allowed);

        let Ok(Answer::Allowed(changes)) = decode(&answer.framed()) else {
            panic!("allowed");
        };

        let value = HeaderValue::from_static;
        let name = HeaderName::from_static;
        assert_eq!(
            changes.request,
            [
                Change::Set(name("x-user"), value("ada")),
                Change::Remove(name("x-secret"))
            ]
        );
        assert_eq!(changes.response, [(name("x-seen"), value("1"))]);
    }

    #[test]
    fn an_answer_that_denies_has_a_status_headers_and_a_body() {
        let mut code = Message::default();
        code.number(CODE, 401);
        let mut denied = Message::default();
        denied.message(STATUS, &code);
        denied.message(DENIED_HEADERS, &pair("www-authenticate", "Basic"));
        denied.text(DENIED_BODY, "who are you");
        let mut status = Message::default();
        status.number(CODE, 16);
        let mut answer = Message::default();
        answer.message(STATUS, &status);
        answer.message(DENIED, &denied);

        let Ok(Answer::Denied(refusal)) = decode(&answer.framed()) else {
            panic!("denied");
        };

        assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.headers[0].0, "www-authenticate");
        assert_eq!(refusal.body, "who are you");
    }

    #[test]
    fn a_refusal_is_never_a_success() {
        for status in [0, 100, 200, 204, 1_000, 70_000] {
            let mut code = Message::default();
            code.number(CODE, status);
            let mut denied = Message::default();
            denied.message(STATUS, &code);
            let mut not_ok = Message::default();
            not_ok.number(CODE, 7);
            let mut answer = Message::default();
            answer.message(STATUS, &not_ok);
            answer.message(DENIED, &denied);

            let Ok(Answer::Denied(refusal)) = decode(&answer.framed()) else {
                panic!("denied");
            };

            assert_eq!(refusal.status, StatusCode::FORBIDDEN, "{status}");
        }
    }

    #[test]
    fn a_negative_code_denies() {
        let mut status = Message::default();
        status.number(CODE, u64::MAX);
        let mut answer = Message::default();
        answer.message(STATUS, &status);

        assert!(matches!(decode(&answer.framed()), Ok(Answer::Denied(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut frame = vec![0, 0, 0, 0, bytes.len() as u8];
            frame.extend_from_slice(&bytes);
            let _ = decode(&frame);
            let _ = decode(&bytes);
        }
    }
}
