use super::*;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::labels::TrafficId;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{DestinationKey, Destinations, Policy};
use crate::upstream::endpoint::{EndpointAddr, Member};
use crate::upstream::outlier::sweep::Sweep;
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
    };
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
        live: Arc::default(),
        window: None,
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
    })
}

fn sweep(destination: &Arc<Destination>, now: Instant) -> Sweep {
    let all = Destinations([Some(Arc::clone(destination))].into());
    Sweep::of(&all, now)
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
    let sweep = sweep(&destination, now);

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
    sweep(&fewer, now).look(now);
    assert_eq!(ejected(&fewer).len(), 1);

    let none = reloaded(&destination, None);
    assert!(sweep(&none, now).is_empty());
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
    let sweep = sweep(&destination, now);
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
            let sweep = sweep(&destination, now);
            let mut at = now;
            while !done.load(Ordering::Relaxed) {
                sweep.look(at);
                at += BASE / 8;
                // Read one after the other, bits of several moments could add up to more.
                let ledger = destination.live.ejections.locked();
                assert!(ejected(&destination).len() <= 3);
                drop(ledger);
            }
        });
        for worker in workers {
            worker.join().expect("no panic");
        }
        done.store(true, Ordering::Relaxed);
    });

    assert!(destination.live.ejections.counts(Cause::Errors).0 >= 3);
}
