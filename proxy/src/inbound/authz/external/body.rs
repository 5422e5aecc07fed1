//! What an authorizer gets of a request's body: its beginning, which is read before and sent on later.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use super::Failure;
use crate::body::Body;
use crate::body::begun::Begun;

/// How much of a request's body an authorizer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Included {
    /// Most bytes; validation has a bound of them.
    pub(crate) bytes_max: usize,
    /// Whether the beginning of a longer one will do.
    pub(crate) partial: bool,
    /// Whether gRPC carries it as bytes rather than as text.
    pub(crate) as_bytes: bool,
}

// === impl Included ===

impl Included {
    /// Reads the beginning of `body`, which afterwards begins with what was read.
    pub(super) async fn take(&self, body: &mut Body) -> Result<Bytes, Failure> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let mut begun = Begun::new(std::mem::take(body));
        let mut data = BytesMut::new();
        let whole = loop {
            if data.len() > self.bytes_max {
                break false;
            }
            match poll_fn(|cx| Pin::new(&mut begun).poll_more(cx)).await {
                Ok(Some(more)) => data.extend_from_slice(&more),
                Ok(None) => break true,
                Err(_) => return Err(Failure::BodyFailed),
            }
        };
        *body = Body::Begun(Box::new(begun));
        if !whole && !self.partial {
            return Err(Failure::BodyTooLong);
        }
        data.truncate(self.bytes_max);
        Ok(data.freeze())
    }
}
