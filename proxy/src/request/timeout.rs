//! A route's `timeout`: the time for the answer, from the moment the request was received whole.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What is known of a request's body while it passes.
#[derive(Debug, Default)]
pub struct Upload {
    /// Bytes that passed.
    pub bytes: Cell<u64>,
    /// When it was complete.
    pub(crate) complete: Cell<Option<Instant>>,
}

/// The end of a request's time.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    /// None for a request without body: its time runs already.
    upload: Option<Rc<Upload>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Deadline ===

impl Deadline {
    /// A deadline `limit` after the request is complete.
    pub(crate) fn new(limit: Duration, upload: Option<Rc<Upload>>) -> Self {
        let sleep = upload
            .is_none()
            .then(|| Box::pin(tokio::time::sleep(limit)));
        Self {
            limit,
            upload,
            sleep,
        }
    }

    /// Ready when the time is over. Pending without a timer while the request is incomplete; the
    /// caller's task is woken by the body itself then.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_none() {
            let complete = self
                .upload
                .as_ref()
                .and_then(|upload| upload.complete.get());
            let Some(complete) = complete else {
                return Poll::Pending;
            };
            self.sleep = Some(Box::pin(tokio::time::sleep_until(complete + self.limit)));
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Runs `work` until it ends or the time is over (`None`).
pub(crate) async fn within<T>(
    deadline: &mut Option<Deadline>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let Some(deadline) = deadline else {
        return Some(work.await);
    };
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        deadline.poll_expired(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_complete_request() {
        let start = Instant::now();
        let upload = Rc::new(Upload::default());
        let mut deadline = Some(Deadline::new(
            Duration::from_secs(2),
            Some(Rc::clone(&upload)),
        ));

        let slow_upload = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            upload.complete.set(Some(Instant::now()));
            std::future::pending::<()>().await;
        };
        let ended = within(&mut deadline, slow_upload).await;

        assert_eq!(ended, None);
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_body_the_time_runs_at_once() {
        let start = Instant::now();
        let mut deadline = Some(Deadline::new(Duration::from_secs(2), None));

        assert_eq!(
            within(&mut deadline, std::future::pending::<()>()).await,
            None
        );
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(within(&mut None, async { 7 }).await, Some(7));
    }
}
