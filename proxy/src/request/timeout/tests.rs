use super::*;
use std::pin::pin;

use std::future::pending;

const TWO_SECONDS: Option<Duration> = Some(Duration::from_secs(2));

fn deadline(
    limit: Option<Duration>,
    caller: Option<Duration>,
    upload: Option<&Rc<Upload>>,
) -> Option<Deadline> {
    Some(Deadline::new(
        Time::new(limit, caller, upload.cloned()),
        None,
    ))
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_the_complete_request() {
    let start = Instant::now();
    let upload = Rc::new(Upload::default());
    let mut deadline = deadline(TWO_SECONDS, None, Some(&upload));

    let slow_upload = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        upload.finish();
        pending::<()>().await;
    };
    let ended = within(&mut deadline, pin!(slow_upload)).await;

    assert_eq!(ended, Err(Expired::Limit));
    assert_eq!(start.elapsed().as_secs(), 12);
}

#[tokio::test(start_paused = true)]
async fn without_a_body_the_time_runs_at_once() {
    let start = Instant::now();
    let mut deadline = deadline(TWO_SECONDS, None, None);

    assert_eq!(
        within(&mut deadline, pin!(pending::<()>())).await,
        Err(Expired::Limit)
    );
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(within(&mut None, pin!(async { 7 })).await, Ok(7));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_end_of_a_body_that_another_task_reads_starts_the_time() {
    let start = Instant::now();
    let upload = Rc::new(Upload::default());
    let mut deadline = deadline(TWO_SECONDS, None, Some(&upload));
    let reading = tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        upload.finish();
    });

    assert_eq!(
        within(&mut deadline, pin!(pending::<()>())).await,
        Err(Expired::Limit)
    );

    assert_eq!(start.elapsed().as_secs(), 12);
    reading.await.expect("the body was read");
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_time_runs_from_the_beginning_and_the_first_end_counts() {
    let upload = Rc::new(Upload::default());
    let caller = |seconds| Some(Duration::from_secs(seconds));
    let start = Instant::now();

    let mut incomplete = deadline(TWO_SECONDS, caller(5), Some(&upload));
    let ended = within(&mut incomplete, pin!(pending::<()>())).await;
    assert_eq!(ended, Err(Expired::Caller));
    assert_eq!(start.elapsed().as_secs(), 5);

    let mut patient = deadline(TWO_SECONDS, caller(5), None);
    let ended = within(&mut patient, pin!(pending::<()>())).await;
    assert_eq!(ended, Err(Expired::Limit), "the rule caps what callers ask");
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_becomes_known_comes_before_a_later_one() {
    let upload = Rc::new(Upload::default());
    let mut deadline = deadline(TWO_SECONDS, Some(Duration::from_secs(60)), Some(&upload));
    let start = Instant::now();

    let slow_upload = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        upload.finish();
        pending::<()>().await;
    };

    assert_eq!(
        within(&mut deadline, pin!(slow_upload)).await,
        Err(Expired::Limit)
    );
    assert_eq!(start.elapsed().as_secs(), 12);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_known_once_the_request_is_complete() {
    let upload = Rc::new(Upload::default());
    let time = Time::new(TWO_SECONDS, None, Some(Rc::clone(&upload)));
    assert_eq!(time.left(Instant::now()), None);
    assert_eq!(
        time.left_for_upstream(),
        TWO_SECONDS,
        "none of it has passed"
    );
    let caller = Time::new(TWO_SECONDS, Some(Duration::from_secs(1)), None);
    assert_eq!(caller.left_for_upstream(), Some(Duration::from_secs(1)));
    assert_eq!(Time::new(None, None, None).left_for_upstream(), None);

    upload.finish();
    tokio::time::advance(Duration::from_millis(500)).await;

    assert_eq!(
        time.left(Instant::now()),
        Some(Duration::from_millis(1_500))
    );
    assert_eq!(time.left_for_upstream(), Some(Duration::from_millis(1_500)));
    let attempt = time.of_attempt(Duration::from_secs(1));
    assert_eq!(attempt.left(Instant::now()), Some(Duration::from_secs(1)));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(time.left(Instant::now()), Some(Duration::ZERO));
}
