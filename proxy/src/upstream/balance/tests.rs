//! Who is picked, whatever of the destination is available.

mod failing;
mod hashing;

use super::*;
use std::sync::Arc;

use crate::telemetry::labels::TrafficId;
use crate::upstream::endpoint::{Endpoint, EndpointAddr};
use crate::upstream::health::Ailment;

/// Members at ports from 1 with these weights.
fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(port, weight): (u16, &u32)| Member {
        endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(
            ([127, 0, 0, 1], port).into(),
        ))),
        weight: *weight,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    };
    (1..).zip(weights).map(member).collect()
}

fn avoiding(tried: &[u64]) -> Wish<'_> {
    Wish {
        tried,
        ..Wish::default()
    }
}

fn port(member: &Member) -> u16 {
    match &member.endpoint.addr {
        EndpointAddr::Tcp(addr) => addr.port(),
        EndpointAddr::Unix(_) => 0,
    }
}

fn picks(balancer: &Balancer, count: usize) -> Vec<u16> {
    picks_of(balancer, &Live::default(), count)
}

fn picks_of(balancer: &Balancer, live: &Live, count: usize) -> Vec<u16> {
    let mut rng = fastrand::Rng::with_seed(3);
    let pick = |_| {
        let picked = balancer.pick(live, &mut rng, &Wish::default());
        port(picked.expect("a member"))
    };
    (0..count).map(pick).collect()
}

/// How many of a hundred picks are of each port from 1 to `ports`.
fn percents(balancer: &Balancer, live: &Live, ports: u16) -> Vec<f64> {
    const PICKS: usize = 20_000;
    let picks = picks_of(balancer, live, PICKS);
    let percent = |port| {
        let count = picks.iter().filter(|it| **it == port).count();
        count as f64 * 100.0 / PICKS as f64
    };
    (1..=ports).map(percent).collect()
}

fn assert_near(percents: &[f64], expected: &[f64]) {
    assert_eq!(percents.len(), expected.len());
    for (percent, expected) in percents.iter().zip(expected) {
        // Five standard deviations at most.
        assert!((percent - expected).abs() < 1.8, "{percents:?}");
    }
}

/// A balancer with a level for each list of positions.
fn leveled(members: Vec<Member>, levels: &[&[u32]], terms: Terms, live: &Live) -> Balancer {
    let levels = levels
        .iter()
        .map(|positions| Level::whole(positions.to_vec()));
    Balancer::new(members, Layout::of(levels.collect()), terms, live)
}

/// Takes the members at these positions out, and everybody else back in.
fn only_without(balancer: &Balancer, live: &Live, out: &[usize]) {
    for (position, member) in balancer.members().iter().enumerate() {
        match out.contains(&position) {
            true => member.endpoint.health.set(Ailment::Ejected),
            false => member.endpoint.health.clear(Ailment::Ejected),
        };
    }
    live.changed();
}

#[test]
fn round_robin_goes_in_order() {
    assert_eq!(
        picks(&Balancer::round_robin(members(&[1, 1, 1])), 6),
        [1, 2, 3, 1, 2, 3]
    );
}

#[test]
fn weighted_round_robin_spreads_the_turns() {
    let mut seen = picks(&Balancer::round_robin(members(&[4, 2])), 6);

    assert_eq!(seen[..3], seen[3..], "2:1 repeats every three turns");
    seen.sort_unstable();
    assert_eq!(seen, [1, 1, 1, 1, 2, 2]);
}

#[test]
fn random_follows_the_weights() {
    let seen = picks(&Balancer::random(members(&[3, 1])), 40_000);

    let first = seen.iter().filter(|port| **port == 1).count();
    assert!((29_600..=30_400).contains(&first), "{first}");
}

#[test]
fn least_request_avoids_the_busy_one() {
    let balancer = Balancer::least_request(members(&[1, 1]));
    let busy: Vec<_> = (0..5)
        .map(|_| balancer.members()[0].endpoint.begin())
        .collect();

    let first = picks(&balancer, 1_000)
        .iter()
        .filter(|port| **port == 1)
        .count();

    // Only when both draws are the busy one.
    assert!((150..350).contains(&first), "{first}");
    drop(busy);
    assert_eq!(balancer.members()[0].endpoint.active(), 0);
}

#[test]
fn what_was_tried_is_avoided_while_there_is_another() {
    let balancer = Balancer::random(members(&[1, 1, 1]));
    let (live, mut rng) = (Live::default(), fastrand::Rng::with_seed(3));
    let members = balancer.members().iter();
    let ids: Vec<u64> = members.map(|member| member.endpoint.id).collect();

    for _ in 0..100 {
        let picked = balancer
            .pick(&live, &mut rng, &avoiding(&ids[..2]))
            .expect("a member");
        assert_eq!(picked.endpoint.id, ids[2]);
    }
    assert!(balancer.pick(&live, &mut rng, &avoiding(&ids)).is_some());
}

#[test]
fn nothing_is_picked_among_none() {
    let (live, mut rng) = (Live::default(), fastrand::Rng::with_seed(3));

    for balancer in [
        Balancer::random(vec![]),
        Balancer::round_robin(vec![]),
        Balancer::least_request(vec![]),
    ] {
        assert!(balancer.pick(&live, &mut rng, &Wish::default()).is_none());
    }
}

#[test]
fn fixed_shares_are_kept_and_within_them_weights() {
    let live = Live::default();
    let level = Level {
        spread: Spread::Shares(vec![80, 15, 5]),
        groups: vec![
            Group::new(None, vec![0, 1]),
            Group::new(None, vec![2]),
            // Nobody is there: its share goes to the others.
            Group::new(None, vec![]),
        ],
    };
    let layout = Layout::of(vec![level]);
    let terms = Terms::of(Algorithm::RoundRobin);
    let balancer = Balancer::new(members(&[3, 1, 9, 9]), layout, terms, &live);

    let [near, far] = [80.0 / 0.95, 15.0 / 0.95];
    let expected = [near * 0.75, near * 0.25, far, 0.0];
    assert_near(&percents(&balancer, &live, 4), &expected);

    // With 70 % of its endpoints a locality would still take its share; this one has half.
    only_without(&balancer, &live, &[1]);
    let parts = 80.0 * 0.7 + 15.0;
    let expected = [80.0 * 70.0 / parts, 0.0, 1_500.0 / parts, 0.0];
    assert_near(&percents(&balancer, &live, 4), &expected);

    only_without(&balancer, &live, &[0, 1]);
    assert_near(&percents(&balancer, &live, 4), &[0.0, 0.0, 100.0, 0.0]);
}

#[test]
fn zones_keep_what_they_can_take() {
    let live = Live::default();
    let level = Level {
        spread: Spread::Zones { own: 0 },
        groups: vec![
            Group::new(None, vec![0, 1]),
            Group::new(None, vec![2, 3, 4, 5]),
        ],
    };
    let layout = Layout::of(vec![level]);
    let terms = Terms::of(Algorithm::Random);
    let balancer = Balancer::new(members(&[1; 6]), layout, terms, &live);

    // Two of six endpoints for half of the callers: two thirds of the requests stay.
    let (near, far) = (100.0 / 3.0, 100.0 / 12.0);
    let expected = [near, near, far, far, far, far];
    assert_near(&percents(&balancer, &live, 6), &expected);

    only_without(&balancer, &live, &[3, 4]);
    let expected = [50.0, 50.0, 0.0, 0.0, 0.0, 0.0];
    assert_near(&percents(&balancer, &live, 6), &expected);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_warms_up_beside_one_that_was_there() {
    let minute = std::time::Duration::from_secs(60);
    for algorithm in [Algorithm::LeastRequest, Algorithm::RoundRobin] {
        let live = Live::default();
        let mut terms = Terms::of(algorithm);
        terms.warmup = Some(Warmup {
            duration: minute,
            least: 0.1,
            aggression: 1.0,
        });
        let old = members(&[1]);
        tokio::time::advance(minute).await;
        let mut members = members(&[1, 1]);
        members[0].endpoint = Arc::clone(&old[0].endpoint);
        let balancer = Balancer::new(members, Layout::flat(2), terms, &live);

        assert_near(&percents(&balancer, &live, 2), &[90.9, 9.1]);
        tokio::time::advance(minute / 2).await;
        assert_near(&percents(&balancer, &live, 2), &[66.7, 33.3]);
        tokio::time::advance(minute / 2).await;
        assert_near(&percents(&balancer, &live, 2), &[50.0, 50.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_all_new_share_alike() {
    let minute = std::time::Duration::from_secs(60);
    let mut terms = Terms::of(Algorithm::RoundRobin);
    terms.warmup = Some(Warmup {
        duration: minute,
        least: 0.1,
        aggression: 1.0,
    });
    let live = Live::default();
    let balancer = Balancer::new(members(&[2, 1]), Layout::flat(2), terms, &live);

    assert_near(&percents(&balancer, &live, 2), &[66.7, 33.3]);
    tokio::time::advance(minute / 2).await;
    assert_near(&percents(&balancer, &live, 2), &[66.7, 33.3]);
}
