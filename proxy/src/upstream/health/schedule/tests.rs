use super::*;

use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, DestinationKey, Policy};
use crate::upstream::endpoint::Member;

const SECOND: Duration = Duration::from_secs(1);

fn check(written: &str) -> Arc<Check> {
    Arc::new(Check {
        written: written.parse().expect("a legal check"),
        authority: "a.test".to_owned(),
        http2: false,
    })
}

fn endpoint(port: u16) -> Arc<Endpoint> {
    let addr = EndpointAddr::Tcp(([127, 0, 0, 1], port).into());
    Arc::new(Endpoint::new(addr))
}

/// A destination of these endpoints.
fn destination(check: Option<&Arc<Check>>, endpoints: &[&Arc<Endpoint>]) -> Arc<Destination> {
    let member = |endpoint: &&Arc<Endpoint>| Member {
        endpoint: Arc::clone(endpoint),
        weight: 1,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    };
    Arc::new(Destination {
        key: DestinationKey {
            host: "a.test".into(),
            port: 80,
            subset: "".into(),
            inbound: false,
        },
        policy: Policy {
            check: check.map(Arc::clone),
            ..Policy::default()
        },
        balancer: Balancer::random(endpoints.iter().map(member).collect()),
        traffic: TrafficId::UNKNOWN,
        rule: None,
        live: Arc::default(),
        window: None,
        originals: None,
    })
}

/// The next generation of a destination: the same endpoints under another check.
fn reloaded(before: &Destination, check: Option<&Arc<Check>>) -> Arc<Destination> {
    Arc::new(Destination {
        key: before.key.clone(),
        policy: Policy {
            check: check.map(Arc::clone),
            ..Policy::default()
        },
        balancer: Balancer::random(before.members().to_vec()),
        traffic: before.traffic,
        rule: None,
        live: Arc::clone(&before.live),
        window: None,
        originals: None,
    })
}

fn all(destinations: &[&Arc<Destination>]) -> Destinations {
    let destinations = destinations.iter().map(|it| Some(Arc::clone(it)));
    Destinations(destinations.collect())
}

fn failed() -> Option<Result<(), String>> {
    Some(Err("status 500".to_owned()))
}

/// Starts the check that is due and gives it a result at the same moment.
fn play(schedule: &mut Schedule, result: Option<Result<(), String>>, now: Instant) -> Option<bool> {
    let target = schedule.start(now).expect("a check is due");
    schedule.finish(&target, result, now)
}

#[test]
fn the_first_check_is_due_at_once_and_the_others_at_intervals() {
    let (mut schedule, start) = (Schedule::default(), Instant::now());
    let check = check("tcp;interval=10s");
    schedule.want(&all(&[&destination(Some(&check), &[&endpoint(1)])]), start);

    assert_eq!(schedule.due(), Some(start));
    play(&mut schedule, Some(Ok(())), start);
    let second = schedule.due().expect("another follows");
    assert!(second >= start + SECOND * 5 && second <= start + SECOND * 10);
    play(&mut schedule, Some(Ok(())), second);
    assert_eq!(schedule.due(), Some(second + SECOND * 10));
    assert!(schedule.start(second + SECOND * 9).is_none());
}

#[test]
fn checks_that_began_together_spread() {
    let (mut schedule, start) = (Schedule::default(), Instant::now());
    let check = check("tcp;interval=10s");
    let endpoints: Vec<_> = (1..=50).map(endpoint).collect();
    let endpoints: Vec<_> = endpoints.iter().collect();
    schedule.want(&all(&[&destination(Some(&check), &endpoints)]), start);

    for _ in 0..50 {
        play(&mut schedule, Some(Ok(())), start);
    }

    let seconds = schedule.due.keys().map(|(at, _)| (*at - start).as_secs());
    let seconds: std::collections::BTreeSet<u64> = seconds.collect();
    assert!(seconds.len() >= 4, "{seconds:?}");
}

#[test]
fn what_fails_takes_no_requests_until_it_passes_again() {
    let (mut schedule, start) = (Schedule::default(), Instant::now());
    let (check, endpoint) = (check("tcp;interval=1s;unhealthy=2;healthy=2"), endpoint(1));
    let destination = destination(Some(&check), &[&endpoint]);
    schedule.want(&all(&[&destination]), start);
    assert!(endpoint.health.is_available(), "before it was checked");

    let mut now = start;
    let mut play = |result, expected, available| {
        now += SECOND;
        assert_eq!(play(&mut schedule, result, now), expected);
        assert_eq!(endpoint.health.is_available(), available);
    };
    play(Some(Ok(())), Some(true), true);
    play(failed(), None, true);
    play(None, None, true);
    play(failed(), Some(false), false);
    play(Some(Ok(())), None, false);
    play(Some(Ok(())), Some(true), true);

    assert_eq!(destination.live.changes(), 2);
    let checked = endpoint.health.checked().expect("it was checked");
    assert!(checked.passing && checked.last_error.is_none());
    assert_eq!(checked.since, start + SECOND * 6);
}

#[test]
fn destinations_that_share_an_address_share_its_checks() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let check = check("tcp");
    let (host, subset, late) = (endpoint(1), endpoint(1), endpoint(1));
    let of = |endpoint| destination(Some(&check), &[endpoint]);
    schedule.want(&all(&[&of(&host), &of(&subset)]), now);

    assert_eq!(play(&mut schedule, failed(), now), Some(false));
    assert!(!host.health.is_available() && !subset.health.is_available());
    schedule.want(&all(&[&of(&late), &of(&host)]), now);
    assert!(!late.health.is_available(), "known already");
    assert_eq!(schedule.due.len(), 1);
}

/// Starts all checks that can be.
fn start_all(schedule: &mut Schedule, now: Instant) -> Vec<Arc<Target>> {
    std::iter::from_fn(|| schedule.start(now)).collect()
}

#[test]
fn a_destination_whose_endpoints_hang_leaves_room_for_the_others() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let (hanging, good) = (check("tcp;timeout=60s"), check("tcp"));
    let endpoints: Vec<_> = (1..=200).map(endpoint).collect();
    let endpoints: Vec<_> = endpoints.iter().collect();
    let other = endpoint(1_000);
    let hangs = destination(Some(&hanging), &endpoints);
    schedule.want(&all(&[&hangs, &destination(Some(&good), &[&other])]), now);

    let under_way = start_all(&mut schedule, now);
    assert_eq!(under_way.len(), CHECKS_MAX_EACH + 1);
    assert_eq!(under_way.last().map(|it| &it.check), Some(&good));
    assert_eq!(schedule.due(), None, "who waits does not wake anybody");

    // One ends, one begins; all are asked in the end, in their order.
    let mut asked: Vec<_> = under_way.iter().map(|it| it.addr.clone()).collect();
    for target in under_way {
        let mut next = Some(target);
        while let Some(target) = next {
            schedule.finish(&target, failed(), now);
            next = schedule.start(now);
            asked.extend(next.iter().map(|it| it.addr.clone()));
        }
    }
    let mut once = asked.clone();
    once.sort();
    once.dedup();
    assert_eq!((asked.len(), once.len()), (201, 201));
    assert!(schedule.lanes.release_all().is_empty());
}

#[test]
fn who_waits_is_asked_though_those_before_it_are_not_wanted_any_more() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let check = check("tcp");
    let endpoints: Vec<_> = (1..=100).map(endpoint).collect();
    let endpoints: Vec<_> = endpoints.iter().collect();
    schedule.want(&all(&[&destination(Some(&check), &endpoints)]), now);
    let under_way = start_all(&mut schedule, now);
    assert_eq!(under_way.len(), CHECKS_MAX_EACH);

    let last = destination(Some(&check), &endpoints[99..]);
    schedule.want(&all(&[&last]), now);
    for target in &under_way {
        schedule.finish(target, failed(), now);
    }

    assert_eq!(start_all(&mut schedule, now).len(), 1);
    assert_eq!(schedule.due(), None);
}

#[test]
fn a_target_that_is_forgotten_while_it_waits_and_wanted_again_is_asked_once() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let check = check("tcp");
    let endpoints: Vec<_> = (1..=100).map(endpoint).collect();
    let endpoints: Vec<_> = endpoints.iter().collect();
    let whole = destination(Some(&check), &endpoints);
    schedule.want(&all(&[&whole]), now);
    let under_way = start_all(&mut schedule, now);

    schedule.want(&all(&[]), now);
    schedule.want(&all(&[&whole]), now);
    for target in &under_way {
        schedule.finish(target, failed(), now + SECOND);
    }

    let mut asked = Vec::new();
    loop {
        let started = start_all(&mut schedule, now + SECOND);
        if started.is_empty() {
            break;
        }
        for target in &started {
            schedule.finish(target, failed(), now + SECOND);
            asked.push(target.addr.clone());
        }
    }
    asked.sort();
    assert_eq!(asked.len(), 100, "those under way were forgotten, too");
    asked.dedup();
    assert_eq!(asked.len(), 100);
}

#[test]
fn a_reload_changes_nothing_for_what_it_does_not_concern() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let (check, endpoint) = (check("tcp"), endpoint(1));
    let of = |check| destination(Some(check), &[&endpoint]);
    schedule.want(&all(&[&of(&check)]), now);
    play(&mut schedule, Some(Ok(())), now);
    let due = schedule.due();

    schedule.want(&all(&[&of(&check)]), now + SECOND);
    assert_eq!(schedule.due(), due);

    let other = self::check("tcp;unhealthy=2");
    schedule.want(&all(&[&of(&other)]), now + SECOND);
    assert_eq!(schedule.due(), Some(now + SECOND), "another check");
    assert_eq!(
        play(&mut schedule, failed(), now + SECOND),
        None,
        "it passed before, so one failure does not decide"
    );
}

#[test]
fn what_is_not_checked_any_more_is_not_out_because_of_checks() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let (check, endpoint) = (check("tcp"), endpoint(1));
    let checked = destination(Some(&check), &[&endpoint]);
    schedule.want(&all(&[&checked]), now);
    let under_way = schedule.start(now).expect("due at once");
    assert_eq!(schedule.finish(&under_way, failed(), now), Some(false));

    let under_way = schedule.start(now + SECOND * 10).expect("due again");
    let plain = reloaded(&checked, None);
    schedule.want(&all(&[&plain]), now);

    assert!(endpoint.health.is_available());
    assert_eq!(plain.live.changes(), 2);
    assert_eq!(schedule.finish(&under_way, failed(), now), None);
    assert!(endpoint.health.is_available(), "a late result is dropped");
    assert_eq!(schedule.due(), None);
}

#[test]
fn nothing_is_done_for_what_is_not_checked_and_never_was() {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    let (check, checked, plain) = (check("tcp"), endpoint(1), endpoint(2));
    let checked = destination(Some(&check), &[&checked]);
    let destination = destination(None, &[&plain]);
    // As a mark of who looks at it.
    plain.health.set(Ailment::FailsChecks);

    schedule.want(&all(&[&checked, &destination]), now);
    schedule.want(&all(&[&destination]), now);

    assert!(plain.health.has(Ailment::FailsChecks));
    assert_eq!(destination.live.changes(), 0);
}

#[test]
fn a_check_at_another_port_asks_there() {
    let check = check("http:/;port=9");
    let tcp = EndpointAddr::Tcp(([127, 0, 0, 1], 1).into());
    let unix = EndpointAddr::Unix("/a".into());

    assert_eq!(check.addr(&tcp).to_string(), "127.0.0.1:9");
    assert_eq!(check.addr(&unix), unix);
}
