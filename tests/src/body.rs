//! Bodies that are too large to be held.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Size of the pieces of a large body.
const PIECE_BYTES: usize = 64 * 1024;

/// A body of a given size, made while it is sent.
#[derive(Debug)]
pub struct Large {
    piece: Bytes,
    left_bytes: usize,
    announced: bool,
}

// === impl Large ===

impl Large {
    /// A body of `bytes`, which are not announced.
    pub fn new(bytes: usize) -> Self {
        Self {
            piece: Bytes::from(vec![b'x'; PIECE_BYTES]),
            left_bytes: bytes,
            announced: false,
        }
    }

    /// The same with its length announced.
    #[must_use]
    pub fn announced(self) -> Self {
        Self {
            announced: true,
            ..self
        }
    }
}

impl Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left_bytes == 0 {
            return Poll::Ready(None);
        }
        let size = self.left_bytes.min(self.piece.len());
        self.left_bytes -= size;
        Poll::Ready(Some(Ok(Frame::data(self.piece.slice(..size)))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.announced {
            true => SizeHint::with_exact(self.left_bytes as u64),
            false => SizeHint::default(),
        }
    }
}

/// Reads `body` to its end and forgets it; how many bytes there were.
///
/// # Errors
///
/// If it breaks off.
pub async fn drain(mut body: Incoming) -> hyper::Result<usize> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}
