//! The counts alone, by threads and in order, and whole requests in memory for an hour.

mod hour;

use std::time::Duration;

use super::*;

/// With so many connections.
fn breaker(connections: u32) -> Arc<Breaker> {
    let breaker = Arc::<Breaker>::default();
    breaker.limit_connections(Some(connections));
    breaker
}

fn idle() -> Use {
    Use {
        connections: 0,
        pending: 0,
        requests: 0,
        pending_overflows: 0,
        request_overflows: 0,
        connection_overflows: 0,
    }
}

/// What was granted so far.
fn granted(grant: &mut oneshot::Receiver<Grant>) -> Option<Grant> {
    grant.try_recv().ok()
}

#[test]
fn many_threads_never_have_more_than_the_limit() {
    let breaker = breaker(10);
    let under_way = AtomicU32::new(0);
    let thresholds = Thresholds {
        requests: Some(10),
        ..Thresholds::default()
    };

    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let (Some(place), Ok(request)) = (breaker.open(), breaker.begin(&thresholds))
                    else {
                        continue;
                    };
                    assert!(under_way.fetch_add(1, SeqCst) < 10);
                    under_way.fetch_sub(1, SeqCst);
                    drop((place, request));
                }
            });
        }
    });

    let Use {
        connections,
        requests,
        ..
    } = breaker.in_use();
    assert_eq!((connections, requests), (0, 0));
}

#[tokio::test]
async fn threads_that_wait_all_get_a_place_in_the_end() {
    let breaker = breaker(3);
    let under_way = Arc::new(AtomicU32::new(0));

    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (breaker, under_way) = (Arc::clone(&breaker), Arc::clone(&under_way));
            tokio::task::spawn_blocking(move || {
                for _ in 0..2_000 {
                    let place = breaker.open().or_else(|| {
                        let (_, grant) = breaker.stand();
                        match grant.blocking_recv() {
                            Ok(Grant::Place(place)) => Some(place),
                            Ok(Grant::Connection) | Err(_) => None,
                        }
                    });
                    assert!(place.is_some());
                    assert!(under_way.fetch_add(1, SeqCst) < 3);
                    under_way.fetch_sub(1, SeqCst);
                }
            })
        })
        .collect();
    for thread in threads {
        let ended = tokio::time::timeout(Duration::from_secs(60), thread).await;
        ended
            .expect("nobody waits for ever")
            .expect("no limit broken");
    }

    assert_eq!(breaker.in_use(), idle());
}

#[test]
fn places_go_to_those_who_wait_in_the_order_of_coming() {
    let breaker = breaker(1);
    let place = breaker.open().expect("the first");
    let (first, mut grants) = breaker.stand();
    let (_, mut later) = breaker.stand();
    assert!(granted(&mut grants).is_none());

    drop(place);

    let Some(Grant::Place(place)) = granted(&mut grants) else {
        panic!("the first who waits");
    };
    assert!(granted(&mut later).is_none());
    assert!(breaker.open().is_none(), "nobody passes the queue");
    breaker.leave(first);
    drop(place);
    assert!(matches!(granted(&mut later), Some(Grant::Place(_))));
    assert_eq!(breaker.in_use(), idle());
}

#[test]
fn what_is_granted_to_somebody_who_left_goes_to_the_next() {
    let breaker = breaker(1);
    let place = breaker.open().expect("the first");
    let (gone, grant) = breaker.stand();
    let (_, mut next) = breaker.stand();

    drop(grant);
    drop(place);

    assert!(matches!(granted(&mut next), Some(Grant::Place(_))));
    breaker.leave(gone);
    assert_eq!(breaker.in_use(), idle());
}

#[test]
fn a_limit_that_grows_or_goes_is_seen_by_those_who_wait() {
    let breaker = breaker(1);
    let _place = breaker.open().expect("the first");
    let mut waiting: Vec<_> = (0..4).map(|_| breaker.stand().1).collect();
    let mut places = Vec::new();
    let mut served = |places: &mut Vec<Grant>| {
        places.extend(waiting.iter_mut().filter_map(granted));
        places.len()
    };

    breaker.limit_connections(Some(3));
    assert_eq!(served(&mut places), 2);

    breaker.limit_connections(None);
    assert_eq!(served(&mut places), 4);
    assert!(!breaker.is_awaited());
}

#[test]
fn no_more_end_than_are_waited_for() {
    let breaker = breaker(2);
    let _places = [breaker.open(), breaker.open()];
    assert!(breaker.end_one().is_none(), "nobody waits");
    let (number, _grant) = breaker.stand();

    let ending = breaker.end_one();

    assert!(ending.is_some());
    assert!(breaker.end_one().is_none(), "one is enough");
    drop(ending);
    assert!(breaker.end_one().is_some(), "that one did not help");
    breaker.leave(number);
    assert!(breaker.end_one().is_none());
}

#[test]
fn a_connection_is_promised_past_the_first_only_so_often() {
    let breaker = breaker(1);
    let _place = breaker.open().expect("the first");
    let (elsewhere, _first) = breaker.stand();
    let own: Vec<_> = (0..=PASSED_OVER_MAX).map(|_| breaker.stand()).collect();
    let numbers = || own.iter().map(|(number, _)| *number);

    for (number, _) in &own[..PASSED_OVER_MAX as usize] {
        assert_eq!(breaker.promise(numbers()), Promise::To(*number));
    }

    assert_eq!(breaker.promise(numbers()), Promise::Elsewhere);
    breaker.leave(elsewhere);
    let last = own[PASSED_OVER_MAX as usize].0;
    assert_eq!(breaker.promise(numbers()), Promise::To(last));
    assert_eq!(breaker.promise(numbers()), Promise::Nobody);
}

#[test]
fn as_many_wait_as_may() {
    let breaker = Arc::<Breaker>::default();
    let thresholds = Thresholds {
        pending: Some(2),
        ..Thresholds::default()
    };

    let waiting = [breaker.pend(&thresholds), breaker.pend(&thresholds)];
    assert!(waiting.iter().all(Result::is_ok));
    assert_eq!(breaker.pend(&thresholds).err(), Some(Overflow::Pending));

    drop(waiting);
    assert!(breaker.pend(&thresholds).is_ok());
    assert_eq!(breaker.in_use().pending_overflows, 1);
}
