use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use kube::client::Body;
use kube::core::response::{StatusCause, StatusDetails};
use prometheus::Registry;
use tokio::sync::mpsc;
use tower::service_fn;

use super::*;

fn answered(code: u16) -> watcher::Error {
    let status = Status::failure("", "").with_code(code);
    watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
}

#[test]
fn what_helps_depends_on_what_was_answered() {
    for (code, is_streaming, expected) in [
        (404, true, Remedy::Look),
        (410, true, Remedy::List),
        (422, true, Remedy::Page),
        (400, true, Remedy::Page),
        (422, false, Remedy::Resume),
        (403, true, Remedy::Resume),
        (500, false, Remedy::Resume),
    ] {
        assert_eq!(remedy(&answered(code), is_streaming), expected, "{code}");
    }
    let silent = watcher::Error::NoResourceVersion;
    assert_eq!(remedy(&silent, true), Remedy::Resume);
}

/// Its version would never come, or come again with another meaning.
#[test]
fn a_server_that_is_behind_us_is_listed_again() {
    let details = StatusDetails {
        causes: vec![StatusCause {
            reason: AHEAD.to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }],
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        retry_after_seconds: 0,
    };
    let status = Status::failure("", "Timeout").with_code(504);
    let status = status.with_details(details).boxed();
    let error = watcher::Error::WatchStartFailed(kube::Error::Api(status));

    assert_eq!(remedy(&error, true), Remedy::List);
}

#[test]
fn causes_are_told_once() {
    let forbidden = answered(403);
    let told = chain(&forbidden);

    assert_eq!(told.matches("ApiError").count(), 1, "{told}");
}

#[test]
fn no_step_is_lost_between_batches() {
    const STEPS: usize = 3 * BATCH_MAX + 7;
    let step = |index| Ok(watcher::Event::Apply(Value::from(index)));
    let failure = || Err(watcher::Error::NoResourceVersion);
    let mut steps = futures::stream::iter((0..STEPS).map(step))
        .chain(futures::stream::iter([failure(), step(STEPS)]))
        .boxed();

    let mut seen = Vec::new();
    let mut failures = 0;
    while let Some(Some(batch)) = batch(&mut steps).now_or_never() {
        failures += usize::from(batch.failure.is_some());
        assert!(batch.events.len() <= BATCH_MAX);
        seen.extend(batch.events.into_iter().map(|event| match event {
            watcher::Event::Apply(value) => value,
            other => panic!("only objects were sent: {other:?}"),
        }));
    }

    let expected: Vec<Value> = (0..=STEPS).map(Value::from).collect();
    assert_eq!(seen, expected);
    assert_eq!(failures, 1);
}

/// A kind that no API server answers for but by 404, and where its events go.
fn watch_of_nothing() -> (Watch, Sink, mpsc::Receiver<Event>) {
    let kind = &super::super::KINDS[0];
    let metrics = Metrics::register(&Registry::new()).expect("new names");
    let absent = |_: http::Request<Body>| async {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        Ok::<_, kube::Error>(response)
    };
    let client = Client::new(service_fn(absent), "default");
    let contact = Contact::default();
    let mut watches = Watch::of(kind, &client, &Settings::default(), &metrics, &contact);
    let (sender, events) = mpsc::channel(4);
    let unlisted = Arc::new(AtomicUsize::new(1));
    (watches.remove(0), Sink { sender, unlisted }, events)
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_such_kind_is_believed_when_it_was_said_often_enough() {
    let (mut watch, sink, mut events) = watch_of_nothing();
    let versions = u32::try_from(watch.kind.versions.len()).expect("few");

    for _ in 0..versions * (ABSENT_MIN - 1) {
        watch.look_elsewhere(&sink).await.expect("somebody listens");
        assert!(events.try_recv().is_err(), "too early");
    }
    for _ in 0..versions {
        watch.look_elsewhere(&sink).await.expect("somebody listens");
    }

    let listed = events.try_recv().expect("told");
    assert!(matches!(listed, Event::Listed { objects, .. } if objects.is_empty()));
    assert!(matches!(events.try_recv(), Ok(Event::Synced)));
}
