//! A route's `timeout`: the time for the answer, from the moment the request was received whole.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::request::malformed::Malformed;

/// What is known of a request's body while it passes.
#[derive(Debug, Default)]
pub struct Upload {
    /// Bytes that passed.
    pub bytes: Cell<u64>,
    /// What was wrong with it, if that is why it ended.
    pub(crate) malformed: Cell<Option<Malformed>>,
    /// When it was complete, or given up.
    complete: Cell<Option<Instant>>,
    /// Who waits for that: an HTTP/2 upstream reads the body in a task of its own.
    waiting: RefCell<Option<Waker>>,
}

// === impl Upload ===

impl Upload {
    /// Notes that nothing more will come; only the first time counts.
    pub(crate) fn finish(&self) {
        if self.complete.get().is_none() {
            self.complete.set(Some(Instant::now()));
            let waiting = self.waiting.take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
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

    /// Ready when the time is over. While the request is incomplete there is no timer; the end of
    /// its body wakes the caller's task.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_none() {
            let Some(upload) = &self.upload else {
                return Poll::Pending;
            };
            let Some(complete) = upload.complete.get() else {
                *upload.waiting.borrow_mut() = Some(cx.waker().clone());
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
            upload.finish();
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

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn the_end_of_a_body_that_another_task_reads_starts_the_time() {
        let start = Instant::now();
        let upload = Rc::new(Upload::default());
        let mut deadline = Some(Deadline::new(
            Duration::from_secs(2),
            Some(Rc::clone(&upload)),
        ));
        let reading = tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            upload.finish();
        });

        assert_eq!(
            within(&mut deadline, std::future::pending::<()>()).await,
            None
        );

        assert_eq!(start.elapsed().as_secs(), 12);
        reading.await.expect("the body was read");
    }
}
