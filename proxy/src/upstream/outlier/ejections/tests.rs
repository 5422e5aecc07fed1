use super::*;

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntCounter;

use crate::telemetry::labels::{Identity, TrafficId};
use crate::telemetry::metrics::{Metrics, Results};
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{DestinationKey, Destinations, Live, Policy};
use crate::upstream::endpoint::{EndpointAddr, Member};
use crate::upstream::health::Keeper;
use crate::upstream::outlier::sweep::{LOOK_INTERVAL, Sweep};
use crate::upstream::outlier::{Comparison, ErrorCodes, Event, LocalFailures, observe};

const BASE: Duration = Duration::from_secs(30);

fn rules(ejected_percent_max: u32) -> Detection {
    Detection {
        errors: 2,
        gateway_errors: 0,
        local_failures: LocalFailures::AsErrors,
        codes: ErrorCodes::ServerErrors,
        interval: Duration::from_secs(10),
        base: BASE,
        ejected_percent_max,
        success_rate: None,
    }
}

fn destination(count: u16, rules: Option<Detection>) -> Arc<Destination> {
    let member = |port| Member {
        endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(
            ([127, 0, 0, 1], port).into(),
        ))),
        weight: 1,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    };
    let live = Arc::<Live>::default();
    if rules.is_some() {
        live.ejections.prepare();
    }
    Arc::new(Destination {
        key: DestinationKey {
            host: "a.test".into(),
            port: 80,
            subset: "".into(),
            inbound: false,
        },
        policy: Policy {
            outlier: rules.map(Box::new),
            ..Policy::default()
        },
        balancer: Balancer::random((1..=count).map(member).collect()),
        traffic: TrafficId::UNKNOWN,
        rule: None,
        live,
        window: None,
        originals: None,
    })
}

/// The next generation of a destination: the same endpoints under other rules.
fn reloaded(before: &Destination, rules: Option<Detection>) -> Arc<Destination> {
    Arc::new(Destination {
        key: before.key.clone(),
        policy: Policy {
            outlier: rules.map(Box::new),
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

/// The next generation of a destination: the same rules for one endpoint more.
fn grown(before: &Destination) -> Arc<Destination> {
    let rules = before.policy.outlier.as_deref().cloned();
    let added = destination(1, None).members().to_vec();
    let members = [before.members(), &added].concat();
    Arc::new(Destination {
        key: before.key.clone(),
        policy: Policy {
            outlier: rules.map(Box::new),
            ..Policy::default()
        },
        balancer: Balancer::random(members),
        traffic: before.traffic,
        rule: None,
        live: Arc::clone(&before.live),
        window: None,
        originals: None,
    })
}

fn only(destination: &Arc<Destination>) -> Destinations {
    Destinations([Some(Arc::clone(destination))].into())
}

fn sweep(destination: &Arc<Destination>) -> Sweep {
    Sweep::of(&only(destination))
}

fn event(destination: &Destination, member: usize, code: u16, now: Instant) {
    if let Some(rules) = &destination.policy.outlier {
        let member = &destination.members()[member];
        observe(rules, destination, member, Event::Answered(code), now);
    }
}

fn ejected(destination: &Destination) -> Vec<usize> {
    let members = destination.members().iter().enumerate();
    let ejected = members.filter(|(_, member)| member.endpoint.health.has(Ailment::Ejected));
    ejected.map(|(at, _)| at).collect()
}

#[test]
fn health_follows_the_ledger_and_every_change_is_told() {
    let (destination, now) = (destination(2, Some(rules(50))), Instant::now());
    let sweep = sweep(&destination);

    for code in [500, 500, 500, 500] {
        event(&destination, 0, code, now);
    }
    assert_eq!(ejected(&destination), [0]);
    assert_eq!(destination.live.changes(), 1);
    sweep.look(now + BASE - Duration::from_millis(1));
    assert_eq!(ejected(&destination), [0]);
    assert_eq!(destination.live.changes(), 1);

    sweep.look(now + BASE);
    assert_eq!(ejected(&destination), [0; 0]);
    assert_eq!(destination.live.changes(), 2);
    event(&destination, 0, 500, now + BASE);
    assert_eq!(ejected(&destination), [0; 0], "streaks begin anew");
}

#[test]
fn what_the_rules_of_a_reload_do_not_allow_ends_with_it() {
    let (destination, now) = (destination(4, Some(rules(100))), Instant::now());
    for member in 0..3 {
        event(&destination, member, 500, now);
        event(&destination, member, 500, now);
    }
    assert_eq!(ejected(&destination).len(), 3);

    let fewer = reloaded(&destination, Some(rules(25)));
    sweep(&fewer).look(now);
    assert_eq!(ejected(&fewer).len(), 1);

    let none = reloaded(&destination, None);
    assert!(sweep(&none).is_empty());
    assert_eq!(ejected(&none), [0; 0]);
    event(&destination, 0, 500, now);
    event(&destination, 0, 500, now);
    assert_eq!(
        ejected(&none),
        [0; 0],
        "a request of the generation before cannot eject for good"
    );
}

#[test]
fn a_look_at_the_generation_before_forgets_nobody_that_the_next_one_added() {
    let (destination, now) = (destination(2, Some(rules(100))), Instant::now());
    let stale = sweep(&destination);
    let grown = grown(&destination);
    event(&grown, 2, 500, now);
    event(&grown, 2, 500, now);

    stale.look(now);
    assert_eq!(ejected(&grown), [2]);
    let sweep = sweep(&grown);
    sweep.look(now + BASE - Duration::from_millis(1));
    assert_eq!(ejected(&grown), [2]);
    sweep.look(now + BASE);
    assert_eq!(ejected(&grown), [0; 0], "its time is over");
}

#[test]
fn an_endpoint_that_vanishes_while_it_is_ejected_is_back_for_those_who_hold_it() {
    let (before, now) = (destination(1, Some(rules(100))), Instant::now());
    let grown = grown(&before);
    event(&grown, 1, 500, now);
    event(&grown, 1, 500, now);
    let vanished = Arc::clone(&grown.members()[1].endpoint);
    drop(grown);

    let sweep = sweep(&before);
    sweep.look(now);
    assert!(vanished.health.has(Ailment::Ejected));
    sweep.look(now + BASE);
    assert!(!vanished.health.has(Ailment::Ejected));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_due_when_a_generation_begins_looks_at_that_one() {
    let counter = || IntCounter::new("checks", "Checks.").expect("a legal name");
    // Two that are ready at once may go in either order: many turns find the wrong one.
    for _ in 0..20 {
        let results = Results {
            ok: counter(),
            failed: counter(),
        };
        let metrics = Metrics::new(Identity::unknown(), 1);
        let keeper = Keeper::new(results, metrics.process.tls.clone());
        let strict = destination(2, Some(rules(50)));
        let lax = reloaded(&strict, Some(rules(100)));
        keeper.mind(&only(&strict));
        tokio::time::sleep(LOOK_INTERVAL).await;

        keeper.mind(&only(&lax));
        for member in [0, 0, 1, 1] {
            event(&lax, member, 500, Instant::now());
        }
        tokio::time::sleep(LOOK_INTERVAL * 2).await;

        assert_eq!(ejected(&lax), [0, 1]);
    }
}

#[test]
fn what_has_no_rules_any_more_is_closed_once_and_what_never_had_any_never() {
    let never = destination(1, None);
    assert!(!never.live.ejections.in_use.load(Ordering::Relaxed));

    let had = destination(1, Some(rules(100)));
    let none = reloaded(&had, None);
    sweep(&none);
    event(&had, 0, 500, Instant::now());
    event(&had, 0, 500, Instant::now());

    assert_eq!(ejected(&none), [0; 0], "though nobody looked at the rules");
    assert!(!none.live.ejections.in_use.load(Ordering::Relaxed));
}

#[test]
fn nothing_is_kept_of_an_endpoint_that_nobody_holds() {
    let (before, now) = (destination(1, Some(rules(100))), Instant::now());
    let grown = grown(&before);
    event(&grown, 1, 500, now);
    event(&grown, 1, 500, now);
    let id = grown.members()[1].endpoint.id;
    drop(grown);

    sweep(&before).look(now);

    let book = before.live.ejections.locked();
    assert!(book.out.is_empty());
    assert_eq!(book.ledger.entry(id), None);
}

#[test]
fn without_detection_those_are_back_too_that_only_an_older_generation_has() {
    let (before, now) = (destination(1, Some(rules(100))), Instant::now());
    let grown = grown(&before);
    event(&grown, 1, 500, now);
    event(&grown, 1, 500, now);

    sweep(&reloaded(&before, None));

    assert_eq!(ejected(&grown), [0; 0]);
}

#[test]
fn rates_are_compared_when_an_interval_is_over() {
    let comparison = Comparison {
        stdev_thousandths: 1_000,
        hosts_min: 3,
        requests_min: 4,
    };
    let rules = Detection {
        errors: 0,
        success_rate: Some(comparison),
        ..rules(100)
    };
    let interval = rules.interval;
    let (destination, now) = (destination(3, Some(rules)), Instant::now());
    let sweep = sweep(&destination);
    sweep.look(now);
    for _ in 0..4 {
        event(&destination, 0, 200, now);
        event(&destination, 1, 500, now);
        event(&destination, 2, 200, now);
    }

    sweep.look(now + interval / 2);
    assert_eq!(ejected(&destination), [0; 0]);
    sweep.look(now + interval);
    assert_eq!(ejected(&destination), [1]);
    let counts = destination.live.ejections.counts(Cause::SuccessRate);
    assert_eq!(counts, (1, 0));
}

#[test]
fn workers_together_never_eject_more_than_may_be() {
    let (destination, now) = (destination(10, Some(rules(30))), Instant::now());
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let worker = |first: usize| {
            for turn in 0..2_000 {
                let at = now + BASE / 4 * (turn / 100);
                event(&destination, (first + turn as usize) % 10, 503, at);
            }
        };
        let workers: Vec<_> = (0..4)
            .map(|worker_at| scope.spawn(move || worker(worker_at)))
            .collect();
        scope.spawn(|| {
            let sweep = sweep(&destination);
            let mut at = now;
            while !done.load(Ordering::Relaxed) {
                sweep.look(at);
                at += BASE / 8;
                // Read one after the other, bits of several moments could add up to more.
                let book = destination.live.ejections.locked();
                assert!(ejected(&destination).len() <= 3);
                drop(book);
            }
        });
        for worker in workers {
            worker.join().expect("no panic");
        }
        done.store(true, Ordering::Relaxed);
    });

    assert!(destination.live.ejections.counts(Cause::Errors).0 >= 3);
}
