//! The one body type of the data path, in either direction.

pub(crate) mod begun;
pub(crate) mod paced;
pub(crate) mod replay;
pub(crate) mod tee;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::begun::Begun;
use crate::body::paced::Paced;
use crate::body::replay::Replay;
use crate::body::tee::{Copied, Tee};
use crate::request::server::http1::body::{ClientBody, ClientError};
use crate::request::timeout::Upload;
use crate::table::fault::Pace;
use crate::upstream::http1::{ResponseBody, Switched};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The HTTP library's reader failed: the peer went away or broke the protocol.
    #[error("read body")]
    Incoming(#[source] hyper::Error),
    /// The reader of an upstream's HTTP/1.1 answer failed.
    #[error("read body of upstream")]
    Upstream(#[source] crate::upstream::http1::ReadError),
    /// The reader of a client's HTTP/1 request failed.
    #[error("read body of client")]
    Client(#[source] ClientError),
    /// A newer attempt of the request has the body.
    #[error("body of an attempt that was given up")]
    Superseded,
    /// A mirror does not get the rest of its copy.
    #[error("copy of a body that was given up")]
    Missed,
}

/// A request's body as it comes off a connection.
#[derive(Debug)]
pub enum Received {
    /// Of an HTTP/1 request.
    Http1(ClientBody),
    /// Of an HTTP/2 request.
    Http2(Incoming),
}

/// A request's or response's body.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, at once.
    Full(Bytes),
    /// The answer of an HTTP/2 upstream.
    Incoming(Incoming),
    /// The answer of an HTTP/1.1 upstream.
    Http1(Box<ResponseBody>),
    /// A downstream request's body that is watched on its way.
    Watched(Watched),
    /// No body: the upstream switched protocols, or a tunnel to it is open.
    Tunnel(Box<Switched>),
    /// One attempt's reading of a downstream request's body.
    Replay(Replay),
    /// A request's body whose beginning somebody else has read.
    Begun(Box<Begun>),
    /// A request's body that is copied to mirrors.
    Tee(Box<Tee>),
    /// A mirror's copy of a request's body.
    Copied(Copied),
    /// An answer that comes slowly on purpose.
    Paced(Box<Paced>),
    /// No body and no answer: the connection, or the stream, is reset instead.
    Reset,
    /// Frames that a test made; ready at once.
    #[cfg(test)]
    Scripted(std::collections::VecDeque<Frame<Bytes>>),
}

/// A downstream request's body, and who wants to know how far it is.
#[derive(Debug)]
pub struct Watched {
    body: Received,
    upload: Rc<Upload>,
}

// === impl Watched ===

impl Watched {
    pub(crate) fn new(body: Received, upload: Rc<Upload>) -> Self {
        Self { body, upload }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        self.upload.broke_off.set(matches!(frame, Some(Err(_))));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = &self.upload.bytes;
                let len = frame.data_ref().map_or(0, Bytes::len);
                bytes.set(bytes.get() + len as u64);
            }
            Some(Err(BodyError::Client(ClientError::Malformed(malformed)))) => {
                self.upload.malformed.set(Some(*malformed));
            }
            Some(Err(_)) | None => {}
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

// === impl Received ===

impl Received {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(body) => body.poll_frame(cx).map_err(BodyError::Client),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Incoming),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body
                .length()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
        }
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

    /// The same at a pace, if it is a body at all.
    pub(crate) fn paced(self, pace: Pace) -> Self {
        match self {
            Self::Empty | Self::Tunnel(_) | Self::Reset => self,
            body => Self::Paced(Box::new(Paced::new(body, pace))),
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
            Self::Empty | Self::Tunnel(_) | Self::Reset => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Incoming),
            Self::Http1(body) => body.poll_frame(cx).map_err(BodyError::Upstream),
            Self::Watched(body) => body.poll_frame(cx),
            Self::Replay(body) => body.poll_frame(cx),
            Self::Begun(body) => body.poll_frame(cx),
            Self::Tee(body) => body.poll_frame(cx),
            Self::Copied(body) => body.poll_frame(cx),
            Self::Paced(body) => body.poll_frame(cx),
            #[cfg(test)]
            Self::Scripted(frames) => Poll::Ready(frames.pop_front().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) | Self::Reset => true,
            Self::Full(_) => false,
            Self::Incoming(body) => body.is_end_stream(),
            Self::Watched(watched) => watched.body.is_end_stream(),
            Self::Replay(body) => body.is_end_stream(),
            Self::Begun(body) => body.is_end_stream(),
            Self::Tee(body) => body.is_end_stream(),
            Self::Copied(body) => body.is_end_stream(),
            Self::Paced(body) => body.is_end_stream(),
            #[cfg(test)]
            Self::Scripted(frames) => frames.is_empty(),
            Self::Http1(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) | Self::Reset => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
            Self::Watched(watched) => watched.body.size_hint(),
            Self::Replay(body) => body.size_hint(),
            Self::Begun(body) => body.size_hint(),
            Self::Tee(body) => body.size_hint(),
            Self::Copied(_) => SizeHint::default(),
            Self::Paced(body) => body.size_hint(),
            #[cfg(test)]
            Self::Scripted(frames) => SizeHint::with_exact(
                frames
                    .iter()
                    .filter_map(Frame::data_ref)
                    .map(|it| it.len() as u64)
                    .sum(),
            ),
            Self::Http1(body) => body.size_hint(),
        }
    }
}
