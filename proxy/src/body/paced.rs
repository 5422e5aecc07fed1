//! A body that passes more slowly than it could.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};
use crate::table::fault::Pace;

/// A body in pieces, each after the time that it takes. What was read and not passed on yet is at
/// most one part; its source is not asked for more meanwhile.
#[derive(Debug)]
pub struct Paced {
    body: Body,
    pace: Pace,
    /// Read and not passed on yet.
    rest: Bytes,
    /// Until when the next piece takes, once it waits.
    sleep: Pin<Box<Sleep>>,
    waits: bool,
}

// === impl Paced ===

impl Paced {
    /// `body` at this pace, from now on.
    pub(crate) fn new(body: Body, pace: Pace) -> Self {
        Self {
            body,
            pace,
            rest: Bytes::new(),
            sleep: Box::pin(tokio::time::sleep_until(Instant::now())),
            waits: false,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = self.pace.piece(self.rest.len());
        if !self.waits {
            self.waits = true;
            // Whoever was slower than the pace does not catch up.
            let begins = self.sleep.deadline().max(Instant::now());
            self.sleep.as_mut().reset(begins + self.pace.time(piece));
        }
        ready!(self.sleep.as_mut().poll(cx));
        self.waits = false;
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Asked before the body begins.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;

    fn paced(frames: impl IntoIterator<Item = Frame<Bytes>>, rate: u64) -> Paced {
        let pace = Pace::new(NonZeroU64::new(rate).expect("not 0"));
        Paced::new(Body::Scripted(frames.into_iter().collect()), pace)
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_takes_its_time_and_trailers_take_none() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("7"));
        let mut body = paced([data("abc"), data("defg"), Frame::trailers(trailers)], 2);
        let start = Instant::now();
        let mut whole = Vec::new();

        loop {
            let frame = poll_fn(|cx| body.poll_frame(cx)).await;
            let frame = frame.expect("trailers").expect("no error");
            match frame.into_data() {
                Ok(piece) => {
                    whole.extend_from_slice(&piece);
                    let due = Duration::from_millis(500) * whole.len() as u32;
                    let late = start.elapsed().abs_diff(due);
                    assert!(late < Duration::from_millis(20), "{late:?}");
                }
                Err(trailers) => {
                    assert_eq!(trailers.trailers_ref().expect("trailers")["x-sum"], "7");
                    break;
                }
            }
        }

        assert_eq!(whole, b"abcdefg");
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_a_while_does_not_get_it_all_at_once() {
        let mut body = paced([data("abcdef")], 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();

        for _ in 0..3 {
            poll_fn(|cx| body.poll_frame(cx)).await;
        }

        assert!(
            start.elapsed() >= Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
}
