//! The counts alone, by threads and in order, and whole requests in memory for an hour.

mod hour;

use std::time::Duration;

use super::*;

fn limited(connections: u32) -> Thresholds {
    Thresholds {
        connections: Some(connections),
        ..Thresholds::default()
    }
}

fn idle() -> Use {
    Use {
        connections: 0,
        pending: 0,
        requests: 0,
        pending_overflows: 0,
        request_overflows: 0,
    }
}

/// What was granted so far.
fn granted(grant: &mut oneshot::Receiver<Grant>) -> Option<Grant> {
    grant.try_recv().ok()
}

#[test]
fn many_threads_never_have_more_than_the_limit() {
    let breaker = Arc::<Breaker>::default();
    let under_way = AtomicU32::new(0);
    let thresholds = Thresholds {
        requests: Some(10),
        ..limited(10)
    };

    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let (Some(place), Ok(request)) =
                        (breaker.open(Some(10)), breaker.begin(&thresholds))
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
    let breaker = Arc::<Breaker>::default();
    let under_way = Arc::new(AtomicU32::new(0));

    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (breaker, under_way) = (Arc::clone(&breaker), Arc::clone(&under_way));
            tokio::task::spawn_blocking(move || {
                for _ in 0..2_000 {
                    let place = breaker.open(Some(3)).or_else(|| {
                        let (_, grant) = breaker.stand(3);
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
    let breaker = Arc::<Breaker>::default();
    let place = breaker.open(Some(1)).expect("the first");
    let (first, mut grants) = breaker.stand(1);
    let (_, mut later) = breaker.stand(1);
    assert!(granted(&mut grants).is_none());

    drop(place);

    let Some(Grant::Place(place)) = granted(&mut grants) else {
        panic!("the first who waits");
    };
    assert!(granted(&mut later).is_none());
    assert!(breaker.open(Some(1)).is_none(), "nobody passes the queue");
    breaker.leave(first);
    drop(place);
    assert!(matches!(granted(&mut later), Some(Grant::Place(_))));
    assert_eq!(breaker.in_use(), idle());
}

#[test]
fn what_is_granted_to_somebody_who_left_goes_to_the_next() {
    let breaker = Arc::<Breaker>::default();
    let place = breaker.open(Some(1)).expect("the first");
    let (gone, grant) = breaker.stand(1);
    let (_, mut next) = breaker.stand(1);

    drop(grant);
    drop(place);

    assert!(matches!(granted(&mut next), Some(Grant::Place(_))));
    breaker.leave(gone);
    assert_eq!(breaker.in_use(), idle());
}

#[test]
fn a_limit_that_grows_is_seen_by_those_who_wait() {
    let breaker = Arc::<Breaker>::default();
    let _place = breaker.open(Some(1)).expect("the first");
    let (_, mut grant) = breaker.stand(1);

    let (_, mut after_reload) = breaker.stand(2);

    // The first still goes by what it knew; what it leaves free is for the next.
    assert!(granted(&mut grant).is_none());
    assert!(granted(&mut after_reload).is_none());
    let unlimited = breaker.open(None);
    assert!(unlimited.is_some(), "without a limit nobody waits");
}

#[test]
fn a_connection_is_promised_past_the_first_only_so_often() {
    let breaker = Arc::<Breaker>::default();
    let _place = breaker.open(Some(1)).expect("the first");
    let (elsewhere, _first) = breaker.stand(1);
    let own: Vec<_> = (0..=PASSED_OVER_MAX).map(|_| breaker.stand(1)).collect();
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
