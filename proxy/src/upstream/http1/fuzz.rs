//! What must hold of answers, whatever an upstream sends.

use bytes::BytesMut;
use http::Method;

use super::Asked;
use super::decode::{self, BodyDecoder};
use crate::message::chunked::Decoded;
use crate::request::limits::Limits;

/// Reads an answer with its body. Each step must use something up, or end.
pub(crate) fn answer(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let method = match kind % 3 {
        0 => Method::GET,
        1 => Method::HEAD,
        _ => Method::CONNECT,
    };
    let asked = Asked {
        head: b"",
        method: &method,
        upgrade: None,
        interim: None,
        limits: &Limits::default(),
    };
    let mut buf = BytesMut::from(bytes);
    let Ok(Some(mut head)) = decode::head(&mut buf, &mut Vec::new(), &asked) else {
        return;
    };
    assert!(buf.len() < bytes.len(), "a head has bytes");
    body(&mut head.decoder, &mut buf);
}

fn body(decoder: &mut BodyDecoder, buf: &mut BytesMut) {
    loop {
        let before = buf.len();
        match decoder.decode(buf) {
            Ok(Decoded::Data(data)) => {
                assert!(!data.is_empty(), "a part has bytes");
                assert!(buf.len() < before, "a part is taken off");
            }
            Ok(Decoded::End | Decoded::Trailers(_)) => {
                assert!(decoder.is_done());
                return;
            }
            Ok(Decoded::More) | Err(_) => return,
        }
    }
}
