//! The one body type of the data path, in either direction.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::request::timeout::Upload;
use crate::upstream::http1::ResponseBody;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The HTTP library's reader failed: the peer went away or broke the protocol.
    #[error("read body")]
    Incoming(#[source] hyper::Error),
    /// Our own HTTP/1.1 reader failed.
    #[error("read body of upstream")]
    Upstream(#[source] crate::upstream::http1::ReadError),
}

/// A request's or response's body.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, at once.
    Full(Bytes),
    /// What the HTTP library reads: a downstream request, or the answer of an HTTP/2 upstream.
    Incoming(Incoming),
    /// The answer of an HTTP/1.1 upstream.
    Http1(Box<ResponseBody>),
    /// A downstream request's body that is watched on its way.
    Watched(Watched),
}

/// A downstream request's body, and who wants to know how far it is.
#[derive(Debug)]
pub struct Watched {
    body: Incoming,
    upload: Rc<Upload>,
}

// === impl Watched ===

impl Watched {
    pub(crate) fn new(body: Incoming, upload: Rc<Upload>) -> Self {
        Self { body, upload }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let bytes = &self.upload.bytes;
            bytes.set(bytes.get() + data.len() as u64);
        }
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.upload.finish();
        }
        Poll::Ready(frame)
    }
}

impl Drop for Watched {
    /// What is given up is over, too.
    fn drop(&mut self) {
        self.upload.finish();
    }
}

// === impl Body ===

impl Body {
    /// A body of known bytes.
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes)
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Incoming),
            Self::Http1(body) => body.poll_frame(cx).map_err(BodyError::Upstream),
            Self::Watched(body) => body.poll_frame(cx).map_err(BodyError::Incoming),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Incoming(body) => body.is_end_stream(),
            Self::Watched(watched) => watched.body.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Watched(watched) => watched.body.size_hint(),
            Self::Http1(body) => body.size_hint(),
        }
    }
}
