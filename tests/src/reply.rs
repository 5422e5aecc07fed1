//! An answer as a client got it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Protocol.
    pub version: Version,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

// === impl Reply ===

impl Reply {
    /// Reads `response` to its end.
    ///
    /// # Errors
    ///
    /// If its body breaks off.
    pub async fn of(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        Ok(Self {
            status: head.status,
            version: head.version,
            headers: head.headers,
            trailers: collected.trailers().cloned(),
            body: collected.to_bytes(),
        })
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(not UTF-8)")
    }

    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.unwrap_or(Ok("")).unwrap_or("(not text)")
    }

    /// Status and body in one, as most tests want to compare them.
    pub fn brief(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text())
    }
}
