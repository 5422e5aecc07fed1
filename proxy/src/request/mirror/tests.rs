//! When a copy is given up, with paused time.

use super::*;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(7);

fn teed() -> (Tee, Copy) {
    let parts = [Frame::data(Bytes::from_static(b"ab"))];
    let mut tee = Tee::new(Body::Scripted(parts.into_iter().collect()));
    let copy = tee.copy(&Rc::default());
    (tee, copy)
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_is_given_up_in_time() {
    let start = Instant::now();
    let hangs = pin!(std::future::pending());

    let ended = within(hangs, None, LIMIT).await;

    assert_eq!((ended, start.elapsed()), (Mirrored::TimedOut, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn its_time_begins_when_the_request_is_complete() {
    let (mut tee, copy) = teed();
    let start = Instant::now();
    let pause = Duration::from_secs(100);
    let upload = async {
        sleep(pause).await;
        poll_fn(|cx| tee.poll_frame(cx)).await
    };

    let hangs = pin!(std::future::pending());
    let (ended, _) = tokio::join!(within(hangs, Some(&copy), LIMIT), upload);

    assert_eq!(
        (ended, start.elapsed()),
        (Mirrored::TimedOut, pause + LIMIT)
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_lost_ends_its_mirror_at_once() {
    let (tee, copy) = teed();
    let leaves = async {
        sleep(Duration::from_secs(1)).await;
        drop(tee);
    };

    let hangs = pin!(std::future::pending());
    let (ended, ()) = tokio::join!(within(hangs, Some(&copy), LIMIT), leaves);

    assert_eq!(ended, Mirrored::Incomplete);
}

#[test]
fn copies_of_a_worker_are_bounded() {
    let metrics =
        crate::telemetry::metrics::Metrics::new(crate::telemetry::labels::Identity::unknown(), 1);
    let mirrors = Mirrors::new(metrics.process.mirrors.clone());

    let begun: Vec<_> = (0..COPIES_MAX).map(|_| mirrors.begin()).collect();

    assert!(begun.iter().all(Result::is_ok));
    assert_eq!(mirrors.begin().err(), Some(Mirrored::TooMany));
    drop(begun);
    assert!(mirrors.begin().is_ok());
}
