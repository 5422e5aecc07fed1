//! A body of which the beginning was read already, and is to be read again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// What was read of a body, and the rest. How much is read before is bounded by whoever reads.
#[derive(Debug)]
pub struct Begun {
    read: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    rest: Body,
}

// === impl Begun ===

impl Begun {
    /// A body of which nothing was read.
    pub(crate) fn new(body: Body) -> Self {
        Self {
            read: VecDeque::new(),
            trailers: None,
            rest: body,
        }
    }

    /// Reads the next part ahead; none at the end.
    pub(crate) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(frame) => frame?,
                None => return Poll::Ready(Ok(None)),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.read.push_back(data.clone());
                    return Poll::Ready(Ok(Some(data)));
                }
                Err(frame) => self.trailers = frame.into_trailers().ok().or(self.trailers.take()),
            }
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_and_counts_in_the_length() {
        let parts = ["ab", "cd", "ef"].map(|it| Frame::data(Bytes::from_static(it.as_bytes())));
        let mut begun = Begun::new(Body::Scripted(parts.into()));

        let first = poll_fn(|cx| begun.poll_more(cx)).await.expect("read");
        let second = poll_fn(|cx| begun.poll_more(cx)).await.expect("read");

        assert_eq!([first, second].map(|it| it.expect("a part")), ["ab", "cd"]);
        assert_eq!(begun.size_hint().exact(), Some(6));
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| begun.poll_frame(cx)).await {
            all.extend_from_slice(frame.expect("read").data_ref().expect("data"));
        }
        assert_eq!(all, b"abcdef");
        assert!(begun.is_end_stream());
    }

    #[tokio::test]
    async fn trailers_come_last() {
        let trailers: HeaderMap = [(http::header::ETAG, http::HeaderValue::from_static("x"))]
            .into_iter()
            .collect();
        let parts = [
            Frame::data(Bytes::from_static(b"a")),
            Frame::trailers(trailers),
        ];
        let mut begun = Begun::new(Body::Scripted(parts.into()));
        while poll_fn(|cx| begun.poll_more(cx))
            .await
            .expect("read")
            .is_some()
        {}

        let frames = [
            poll_fn(|cx| begun.poll_frame(cx)).await,
            poll_fn(|cx| begun.poll_frame(cx)).await,
        ];

        let [Some(Ok(data)), Some(Ok(trailers))] = frames else {
            panic!("two frames");
        };
        assert!(data.is_data() && trailers.is_trailers());
    }
}
