//! A slow clock that the tests turn.

use http_body::Body as _;
use http_body_util::Full;
use std::task::Waker;

use super::*;

fn watched(watch: &Rc<Watch>, length: usize) -> Watched<Full<Bytes>> {
    watch.enter().watch(Full::new(vec![0; length].into()))
}

fn ask(body: &mut Watched<Full<Bytes>>) {
    let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready());
}

/// Looks until something else than movement is found.
fn looks(watch: &Watch) -> Vec<Found> {
    (0..=LOOKS_MAX).map(|_| watch.look()).collect()
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_the_peer_does_not_take_is_ended_and_others_are_not() {
    let watch = Rc::new(Watch::default());
    let tasks = Tasks(Rc::clone(&watch));
    let mut stuck = watched(&watch, 10);
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    hyper::rt::Executor::execute(&tasks, async move {
        ask(&mut stuck);
        let _ended = ended;
        std::future::pending::<()>().await;
    });
    let mut upstream = watched(&watch, 0);
    hyper::rt::Executor::execute(&tasks, async move {
        ask(&mut upstream);
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;

    let found = looks(&watch);

    let (last, before) = found.split_last().expect("looks");
    assert!(
        before
            .iter()
            .all(|found| *found == Found::Moving { ended: 0 })
    );
    assert_eq!(*last, Found::Moving { ended: 1 });
    end.await.expect_err("the task is dropped");
    assert_eq!(watch.free.borrow().len(), 1);
    assert_eq!(looks(&watch).last(), Some(&Found::Moving { ended: 0 }));
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_waited_for() {
    let watch = Rc::new(Watch::default());
    let mut body = watched(&watch, 10);
    for _ in 0..3 {
        for _ in 0..LOOKS_MAX {
            assert_eq!(watch.look(), Found::Moving { ended: 0 });
        }
        ask(&mut body);
    }
}

#[test]
fn a_rest_that_never_leaves_ends_the_connection() {
    let watch = Rc::new(Watch::default());
    let mut body = watched(&watch, 10);
    ask(&mut body);
    drop(body);
    watch.sent(9);

    let found = looks(&watch);

    assert_eq!(found.last(), Some(&Found::Lingering));
    let last_request = watch.enter();
    assert_eq!(watch.look(), Found::Moving { ended: 0 });
    drop(last_request);
    assert_eq!(watch.look(), Found::Stuck);

    let watch = Rc::new(Watch::default());
    let mut body = watched(&watch, 10);
    ask(&mut body);
    drop(body);
    watch.sent(10);
    assert_eq!(looks(&watch).last(), Some(&Found::Moving { ended: 0 }));
}

#[test]
fn a_socket_that_takes_nothing_ends_the_connection() {
    let watch = Rc::new(Watch::default());
    watch.blocked(true);
    watch.look();
    watch.blocked(true);
    assert_eq!(looks(&watch).last(), Some(&Found::Stuck));

    let watch = Rc::new(Watch::default());
    watch.blocked(true);
    watch.look();
    watch.blocked(false);
    watch.blocked(true);
    assert_eq!(
        looks(&watch)[..LOOKS_MAX as usize].last(),
        Some(&Found::Moving { ended: 0 })
    );
}
