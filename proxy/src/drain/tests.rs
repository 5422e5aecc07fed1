use super::*;
use std::future::poll_fn;
use std::task::Poll;

use tokio::task::{JoinHandle, spawn_local, yield_now};

fn bind(port: u16) -> Bind {
    Bind::Tcp(([127, 0, 0, 1], port).into())
}

/// A connection that ends when it is told to.
fn connection(drain: &Rc<Drain>, port: u16) -> JoinHandle<()> {
    let mut ticket = drain.enter(&bind(port));
    spawn_local(poll_fn(move |cx| match ticket.is_told(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }))
}

#[tokio::test(flavor = "local")]
async fn connections_are_told_and_so_are_those_that_come_late() {
    let drain = Rc::new(Drain::default());
    let conn = connection(&drain, 1);
    yield_now().await;
    assert_eq!(drain.open(), 1);

    drain.begin(Scope::All);

    conn.await.expect("the connection ends");
    assert_eq!(drain.open(), 0);
    let late = connection(&drain, 1);
    late.await.expect("one that comes late ends, too");
}

#[tokio::test(flavor = "local")]
async fn one_direction_can_be_told_alone_and_the_other_later() {
    let drain = Rc::new(Drain::default());
    let (into, out) = (bind(1), bind(2));
    let load = |bind: &Bind, direction| Arc::new(Load::new(bind.clone(), direction));
    drain.listen(load(&into, Direction::Gateway));
    drain.listen(load(&out, Direction::Outbound));
    let (inbound, outbound) = (connection(&drain, 1), connection(&drain, 2));
    yield_now().await;

    drain.begin(Scope::Inbound);

    inbound.await.expect("the connection ends");
    let late = connection(&drain, 2);
    yield_now().await;
    assert!(!outbound.is_finished() && !late.is_finished());
    drain.begin(Scope::Outbound);
    outbound.await.expect("the connection ends");
    late.await.expect("the connection ends");
    connection(&drain, 1).await.expect("both stay told");
}

#[tokio::test(flavor = "local")]
async fn who_waits_too_long_is_woken() {
    let drain = Rc::new(Drain::default());
    let mut ticket = drain.enter(&bind(1));
    ticket.wait(Some(Duration::from_millis(1_500)));
    let waiting = spawn_local(poll_fn(move |cx| {
        ticket.is_told(cx);
        match ticket.is_late() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    for _ in 0..2 {
        yield_now().await;
        drain.tick();
    }
    yield_now().await;
    assert!(!waiting.is_finished(), "a limit is never cut short");

    drain.tick();

    waiting.await.expect("the wait ends");
}

#[tokio::test(flavor = "local")]
async fn the_connections_of_one_listener_can_be_told_alone() {
    let drain = Rc::new(Drain::default());
    let (one, two) = (connection(&drain, 1), connection(&drain, 2));
    yield_now().await;

    drain.begin_for(&bind(1));

    one.await.expect("the connection ends");
    yield_now().await;
    assert!(!two.is_finished());
    let again = connection(&drain, 1);
    yield_now().await;
    assert!(!again.is_finished(), "the listener may have come back");
}

#[tokio::test(flavor = "local")]
async fn who_is_told_between_two_requests_stays_for_one_that_may_be_on_its_way() {
    let drain = Rc::new(Drain::default());
    let mut ticket = drain.enter(&bind(1));
    let resting = spawn_local(poll_fn(move |cx| match ticket.leaves(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }));
    yield_now().await;

    drain.begin(Scope::All);
    drain.tick();
    yield_now().await;
    assert!(!resting.is_finished(), "for at least a second");
    drain.tick();

    resting.await.expect("the connection ends");
}

#[tokio::test(flavor = "local")]
async fn a_cut_ends_what_does_not_listen_and_gives_its_places_back() {
    let drain = Rc::new(Drain::default());
    let places = crate::listener::places::Places::new(1, None);
    let ticket = drain.enter(&bind(1));
    let deaf = spawn_local(async move {
        let _ticket = ticket;
        std::future::pending::<()>().await;
    });
    let occupied = places.enter(Direction::Inbound, None).expect("room");
    drain.runs(deaf.abort_handle(), occupied);
    yield_now().await;

    drain.cut(Scope::Outbound);
    yield_now().await;
    assert_eq!(drain.open(), 1, "it is of the other direction");
    drain.cut(Scope::Inbound);

    assert!(deaf.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(drain.open(), 0);
    assert!(places.enter(Direction::Inbound, None).is_ok());
}

#[test]
fn a_load_counts_what_is_open_and_under_way() {
    let drain = Rc::new(Drain::default());
    let load = Arc::new(Load::new(bind(1), Direction::Outbound));
    drain.listen(Arc::clone(&load));

    let first = drain.enter(&bind(1));
    let second = drain.enter(&bind(1));
    let request = first.ending().begin_request();
    assert_eq!((load.open(), load.requests(), load.taken()), (2, 1, 2));
    drop(request);
    drop(first);

    assert_eq!((load.open(), load.requests(), load.taken()), (1, 0, 2));
    drop(second);
    assert_eq!(load.open(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_goes_on_in_another_task_is_told_there() {
    let drain = Rc::new(Drain::default());
    let mut ticket = drain.enter(&bind(1));
    poll_fn(|cx| Poll::Ready(ticket.is_told(cx))).await;
    let (ended, end) = tokio::sync::oneshot::channel();

    ticket.go_on(|mut ticket| {
        let conn = spawn_local(async move {
            poll_fn(|cx| match ticket.is_told(cx) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            let _ = ended.send(());
        });
        conn.abort_handle()
    });
    yield_now().await;
    drain.begin(Scope::All);

    end.await.expect("the task hears of it");
}
