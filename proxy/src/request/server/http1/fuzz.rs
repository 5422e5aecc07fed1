//! What must hold of heads of requests, whatever a client sends.

use bytes::BytesMut;
use http::header;

use super::head::{self, Coding, Head};
use crate::request::headers::{OwnHeaders, rewritten};
use crate::request::limits::Limits;
use crate::request::malformed::Malformed;
use crate::request::path::Normalization;
use crate::upstream::http1::{BodyFraming, RequestHead, encode_head};

/// Reads a head whole and in two parts, which must agree, and sends what passes on, which must be read
/// as one request with the same framing.
pub(crate) fn request_head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut buf = BytesMut::from(bytes);
    let whole = parse(&mut buf);
    let parts = in_parts(bytes, usize::from(*cut));
    match (&whole, &parts) {
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        (Ok(Some(whole)), Ok(Some(parts))) => {
            assert_eq!(whole.parts.method, parts.parts.method);
            assert_eq!(whole.parts.uri, parts.parts.uri);
            assert_eq!(whole.parts.headers, parts.parts.headers);
            assert_eq!(framing(whole), framing(parts));
        }
        (whole, parts) => panic!("{whole:?} is not {parts:?}"),
    }
    if let Ok(Some(head)) = whole {
        assert!(buf.len() < bytes.len(), "a head has bytes");
        passes_as_one(&head);
    }
}

fn parse(buf: &mut BytesMut) -> Result<Option<Head>, Malformed> {
    head::parse(buf, &mut Vec::new(), &Limits::default())
}

fn in_parts(bytes: &[u8], cut: usize) -> Result<Option<Head>, Malformed> {
    let (first, rest) = bytes.split_at(cut.min(bytes.len()));
    let mut buf = BytesMut::from(first);
    match parse(&mut buf)? {
        Some(head) => Ok(Some(head)),
        None => {
            buf.extend_from_slice(rest);
            parse(&mut buf)
        }
    }
}

/// Length of the body, or none for chunks.
fn framing(head: &Head) -> Option<u64> {
    match head.coding {
        Coding::Length(length) => Some(length),
        Coding::Chunked(_) => None,
    }
}

/// Limits within which a head is that has grown by what a proxy adds.
fn wider() -> Limits {
    let limits = Limits::default();
    Limits {
        headers_max: limits.headers_max + 16,
        head_bytes_max: limits.head_bytes_max + 4_096,
        ..limits
    }
}

/// What goes to an upstream must be read by it as the request that we read.
fn passes_as_one(head: &Head) {
    let parts = &head.parts;
    let host = parts.headers.get(header::HOST).map(|host| host.as_bytes());
    let authority = parts.uri.authority().map(|it| it.as_str().as_bytes());
    let authority = authority.or(host).unwrap_or(b"a");
    let rewritten = rewritten(&parts.uri, Normalization::None).ok().flatten();
    let target = match (rewritten, parts.uri.path_and_query()) {
        (Some(rewritten), _) => rewritten,
        (None, Some(target)) => target.as_str().to_owned(),
        (None, None) => String::from_utf8_lossy(authority).into_owned(),
    };
    let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
    let body = match (head.coding, has_length) {
        (Coding::Chunked(_), _) => BodyFraming::Chunked,
        (Coding::Length(_), true) => BodyFraming::Length,
        (Coding::Length(_), false) => BodyFraming::Empty,
    };
    let mut out = Vec::new();
    encode_head(
        &mut out,
        &RequestHead {
            method: &parts.method,
            target: &target,
            authority,
            headers: &parts.headers,
            spelling: Some(&head.spelling),
            upgrade: None,
            own: &OwnHeaders::default(),
            attempt: 1,
            body,
            close: false,
        },
    );
    let mut buf = BytesMut::from(&out[..]);
    let again = head::parse(&mut buf, &mut Vec::new(), &wider());
    let shown = String::from_utf8_lossy(&out);
    let Ok(Some(again)) = again else {
        panic!("{again:?} for {shown}");
    };
    assert!(buf.is_empty(), "more than a head: {shown}");
    assert_eq!(again.parts.method, parts.method, "{shown}");
    assert_eq!(framing(&again), framing(head), "{shown}");
}
