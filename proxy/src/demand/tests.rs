use prometheus::Registry;

use super::*;
use crate::telemetry::metrics::ControlCounters;

const TIMEOUT: Duration = Duration::from_secs(5);

fn demands() -> Demands {
    demands_within(TIMEOUT)
}

fn demands_within(timeout: Duration) -> Demands {
    let counters = ControlCounters::new(&Registry::new()).expect("a new registry");
    let demands = Demands::new(timeout, counters.demand);
    demands.note_connected(true);
    demands
}

fn host(name: &str) -> Demand {
    Demand::host(name).expect("a name")
}

fn answered(demand: &Demand) -> Arc<Answered> {
    let answer = Arc::new(Answer::default());
    Arc::new(Answered::new(std::iter::once((demand, &answer))))
}

/// What is in use.
#[derive(Default)]
struct InUse(Mutex<Arc<Answered>>);

impl InUse {
    fn has(&self, demand: &Demand) -> bool {
        self.0.lock().expect("not poisoned").has(demand)
    }

    fn publish(&self, demands: &Demands, answered: Arc<Answered>) {
        *self.0.lock().expect("not poisoned") = Arc::clone(&answered);
        demands.published(&answered);
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_want_one_name_ask_once_and_go_on_together() {
    let (demands, in_use) = (demands(), Arc::new(InUse::default()));
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (demands, in_use) = (demands.clone(), Arc::clone(&in_use));
        held.spawn(async move { demands.hold(&host("a"), || in_use.has(&host("a"))).await });
    }
    demands.asked().await;
    tokio::task::yield_now().await;

    assert_eq!(demands.take(), [host("a")]);
    assert!(demands.take().is_empty(), "it was taken");
    in_use.publish(&demands, answered(&host("other")));
    in_use.publish(&demands, answered(&host("a")));

    while let Some(outcome) = held.join_next().await {
        assert_eq!(outcome.expect("no panic"), Outcome::Answered);
    }
    assert_eq!(demands.0.counters.held.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_the_limit_and_later_ones_do_not_wait_again() {
    let demands = demands();
    let start = Instant::now();

    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::TimedOut);
    assert_eq!(start.elapsed(), TIMEOUT);

    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::TimedOut);
    assert_eq!(start.elapsed(), TIMEOUT, "it has been asked for long");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_not_held() {
    let demands = demands();
    for number in 0..PENDING_MAX {
        let name = host(&format!("made-up-{number}"));
        assert!(demands.ask(&name).is_some());
    }
    let start = Instant::now();

    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::Full);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let known = demands.ask(&host("made-up-1"));
    assert!(known.is_some(), "it is among them");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_held_no_longer() {
    let demands = demands();

    let name = host("a");
    let held = demands.hold(&name, || false);
    let given_up = tokio::time::timeout(Duration::from_secs(1), held).await;

    assert!(given_up.is_err());
    assert_eq!(demands.0.counters.held.get(), 0);
    assert_eq!(demands.take(), [host("a")], "the demand stays");
}

#[test]
fn what_was_answered_is_not_demanded_again_and_is_seen_to_be_used() {
    let demands = demands();
    let answer = Arc::new(Answer::default());
    let name = host("reviews");
    let known = Answered::new(std::iter::once((&name, &answer)));

    for asked in ["reviews", "Reviews", "reviews."] {
        assert_eq!(demands.of_host(&known, asked, 80), None, "{asked}");
    }
    assert!(answer.used.is_noted());
    assert_eq!(
        demands.of_host(&known, "ratings", 80),
        Some(host("ratings"))
    );
}

#[test]
fn addresses_are_demanded_as_such_however_they_are_written() {
    let (demands, none) = (demands(), Answered::default());
    let addr: SocketAddr = "10.0.0.1:9080".parse().expect("an address");

    let expected = Some(Demand::Address(addr));
    assert_eq!(demands.of_host(&none, "10.0.0.1", 9_080), expected);
    let mapped = "[::ffff:10.0.0.1]:9080".parse().expect("an address");
    assert_eq!(demands.of_address(&none, mapped), expected);
    assert_eq!(demands.of_host(&none, "no name", 80), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_asked_and_waited_for_anew() {
    let demands = demands();
    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::TimedOut);
    assert_eq!(demands.take(), [host("a")]);

    demands.forget([host("a")].iter());

    let start = Instant::now();
    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::TimedOut);
    assert_eq!(start.elapsed(), TIMEOUT, "it is a new demand");
    assert_eq!(demands.take(), [host("a")]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_control_plane_that_is_away() {
    let demands = demands();
    demands.note_connected(false);
    let start = Instant::now();

    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::Away);
    assert_eq!(start.elapsed(), AWAY_MAX, "it may be back at once");
    // Another attempt that fails.
    demands.note_connected(false);
    assert_eq!(demands.hold(&host("b"), || false).await, Outcome::Away);
    assert_eq!(start.elapsed(), AWAY_MAX);
    let mut noted = demands.take();
    noted.sort();
    assert_eq!(noted, [host("a"), host("b")], "it is asked when it is back");

    demands.note_connected(true);
    assert_eq!(demands.hold(&host("c"), || false).await, Outcome::TimedOut);
    assert_eq!(start.elapsed(), AWAY_MAX + TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn without_time_to_wait_it_is_asked_all_the_same() {
    let demands = demands_within(Duration::ZERO);
    let start = Instant::now();

    assert_eq!(demands.hold(&host("a"), || false).await, Outcome::TimedOut);

    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(demands.take(), [host("a")]);
}
