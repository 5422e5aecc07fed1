use super::*;

use proptest::prelude::*;

use crate::upstream::outlier::{EJECTION_MAX, ErrorCodes, LocalFailures};

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);
const BASE: Duration = Duration::from_secs(30);

fn rules(ejected_percent_max: u32) -> Detection {
    Detection {
        errors: 5,
        gateway_errors: 0,
        local_failures: LocalFailures::AsErrors,
        codes: ErrorCodes::ServerErrors,
        interval: INTERVAL,
        base: BASE,
        ejected_percent_max,
        success_rate: None,
    }
}

/// Endpoints with the ids 0 to `count`.
fn members(count: u64) -> std::vec::IntoIter<u64> {
    (0..count).collect::<Vec<_>>().into_iter()
}

/// Whether somebody still holds an endpoint that is no member.
fn nobody(_: u64) -> bool {
    false
}

fn eject(ledger: &mut Ledger, id: u64, of: u64, rules: &Detection, now: Instant) -> Verdict {
    ledger.eject(id, Cause::Errors, rules, members(of), now)
}

fn ejected(ledger: &Ledger, of: u64) -> usize {
    members(of).filter(|id| ledger.is_ejected(*id)).count()
}

#[test]
fn each_ejection_in_a_row_is_longer_up_to_five_minutes() {
    let (mut ledger, rules) = (Ledger::default(), rules(100));
    let mut now = Instant::now();
    let mut times = Vec::new();

    for _ in 0..12 {
        let Verdict::Ejected { time, .. } = eject(&mut ledger, 0, 1, &rules, now) else {
            panic!("the limit allows it");
        };
        times.push(time.as_secs());
        now += time;
        assert_eq!(
            ledger.tend(&rules, members(1), nobody, now),
            [0],
            "exactly then"
        );
        now += SECOND;
    }

    assert_eq!(
        times,
        [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    );
}

#[test]
fn a_first_ejection_that_is_longer_than_five_minutes_is_as_long_as_all() {
    let rules = Detection {
        base: EJECTION_MAX * 2,
        ..rules(100)
    };

    assert_eq!(rules.ejection(1), EJECTION_MAX * 2);
    assert_eq!(rules.ejection(7), EJECTION_MAX * 2);
}

#[test]
fn nobody_is_back_before_the_time_is_over() {
    let (mut ledger, rules, now) = (Ledger::default(), rules(100), Instant::now());
    eject(&mut ledger, 0, 2, &rules, now);

    let almost = now + BASE - Duration::from_millis(1);
    assert!(ledger.tend(&rules, members(2), nobody, almost).is_empty());
    assert_eq!(
        eject(&mut ledger, 0, 2, &rules, almost),
        Verdict::Ignored,
        "what was under way does not prolong it"
    );
    assert_eq!(ledger.tend(&rules, members(2), nobody, now + BASE), [0]);
    assert_eq!(ejected(&ledger, 2), 0);
}

#[test]
fn every_interval_without_an_ejection_forgets_one() {
    let (mut ledger, rules, mut now) = (Ledger::default(), rules(100), Instant::now());
    for _ in 0..3 {
        let Verdict::Ejected { time, .. } = eject(&mut ledger, 0, 1, &rules, now) else {
            panic!("the limit allows it");
        };
        now += time;
        ledger.tend(&rules, members(1), nobody, now);
    }

    let two_intervals = now + INTERVAL * 2;
    ledger.tend(&rules, members(1), nobody, two_intervals);
    assert_eq!(
        eject(&mut ledger, 0, 1, &rules, two_intervals),
        Verdict::Ejected {
            time: BASE * 2,
            times: 2
        },
        "one of three is left"
    );

    let mut ledger = Ledger::default();
    eject(&mut ledger, 0, 1, &rules, now);
    ledger.tend(&rules, members(1), nobody, now + BASE);
    ledger.tend(&rules, members(1), nobody, now + BASE + INTERVAL);
    assert_eq!(ledger.entry(0), None, "nothing is kept of who behaves");
}

#[test]
fn the_limit_is_strict() {
    for (percent, of, most) in [
        (10, 1, 0),
        (10, 3, 0),
        (10, 9, 0),
        (10, 10, 1),
        (10, 19, 1),
        (34, 3, 1),
        (33, 3, 0),
        (100, 1, 1),
        (100, 3, 3),
        (50, 5, 2),
    ] {
        let (mut ledger, rules, now) = (Ledger::default(), rules(percent), Instant::now());
        for id in 0..of {
            eject(&mut ledger, id, of, &rules, now);
        }

        assert_eq!(ejected(&ledger, of), most, "{percent} % of {of}");
        assert_eq!(
            ledger.counts(Cause::Errors),
            (most as u64, of - most as u64)
        );
        assert_eq!(ledger.counts(Cause::SuccessRate), (0, 0));
    }
}

#[test]
fn members_that_vanish_give_back_their_place() {
    let (mut ledger, rules, now) = (Ledger::default(), rules(10), Instant::now());
    eject(&mut ledger, 0, 10, &rules, now);
    assert_eq!(eject(&mut ledger, 1, 10, &rules, now), Verdict::Prevented);

    let others = || (1..=10).collect::<Vec<u64>>().into_iter();
    let verdict = ledger.eject(1, Cause::Errors, &rules, others(), now);
    assert_eq!(
        verdict,
        Verdict::Ejected {
            time: BASE,
            times: 1
        },
        "also before anything was tended"
    );
    ledger.tend(&rules, others(), nobody, now);
    assert_eq!(ledger.entry(0), None);
    assert!(ledger.is_ejected(1));
}

#[test]
fn who_is_held_elsewhere_stays_ejected_for_its_time_without_a_place() {
    let (mut ledger, rules, now) = (Ledger::default(), rules(10), Instant::now());
    eject(&mut ledger, 0, 10, &rules, now);
    let others = || (1..=10).collect::<Vec<u64>>().into_iter();
    let is_held = |id| id == 0;

    assert!(ledger.tend(&rules, others(), is_held, now).is_empty());
    assert!(ledger.is_ejected(0));
    let verdict = ledger.eject(1, Cause::Errors, &rules, others(), now);
    assert_ne!(verdict, Verdict::Prevented, "it takes nobody's place");
    assert!(ledger.tend(&rules, others(), is_held, now).is_empty());

    let back = ledger.tend(&rules, others(), is_held, now + BASE);
    assert_eq!(back, [0, 1], "both at their time");
    assert_eq!(ledger.entry(0), None, "of no use to anybody");
}

#[test]
fn when_fewer_may_be_ejected_those_return_that_would_be_first() {
    let (mut ledger, rules, now) = (Ledger::default(), rules(50), Instant::now());
    for id in 0..5 {
        eject(&mut ledger, id, 10, &rules, now + SECOND * id as u32);
    }

    let now = now + SECOND * 10;
    let back = ledger.tend(&rules, members(6), nobody, now);

    assert_eq!(back, [0, 1], "three of six");
    assert_eq!(ejected(&ledger, 6), 3);
}

#[test]
fn where_there_is_no_detection_any_more_nobody_stays_ejected() {
    let (mut ledger, rules, now) = (Ledger::default(), rules(100), Instant::now());
    eject(&mut ledger, 0, 2, &rules, now);

    assert_eq!(ledger.close(), [0]);
    assert_eq!(
        eject(&mut ledger, 1, 2, &rules, now),
        Verdict::Ignored,
        "a request of the generation before may still fail"
    );
    ledger.tend(&rules, members(2), nobody, now);
    assert_ne!(eject(&mut ledger, 1, 2, &rules, now), Verdict::Ignored);
}

#[test]
fn intervals_follow_each_other() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());

    let ends: Vec<bool> = [0, 9, 10, 11, 19, 20, 45, 54, 55]
        .iter()
        .map(|at| ledger.interval_ends(INTERVAL, now + SECOND * *at))
        .collect();

    assert_eq!(
        ends,
        [false, false, true, false, false, true, true, false, true]
    );
}

/// What can happen to a ledger.
#[derive(Debug, Clone)]
enum Step {
    Fails(u64),
    Passes(Duration),
    /// The destination has so many members from now on.
    Members(u64),
    Percent(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20_u64).prop_map(Step::Fails),
        4 => (0..100_000_u64).prop_map(|ms| Step::Passes(Duration::from_millis(ms))),
        1 => (1..20_u64).prop_map(Step::Members),
        1 => (1..=100_u32).prop_map(Step::Percent),
    ]
}

proptest! {
    /// Plays any order of failures, time and reloads. At no moment more than the share is ejected,
    /// nobody for longer than the longest time, and no one is remembered who is neither a member nor
    /// ejected and held elsewhere.
    #[test]
    fn never_are_more_ejected_than_may_be(steps in prop::collection::vec(step(), 1..200)) {
        let (mut ledger, mut rules) = (Ledger::default(), rules(30));
        let (mut count, mut now) = (10, Instant::now());
        let is_held = |id| id % 2 == 0;
        for step in steps {
            match step {
                Step::Fails(id) if id < count => {
                    let times = ledger.entry(id).map_or(0, |entry| entry.times_left(&rules, now));
                    if let Verdict::Ejected { time, .. } = eject(&mut ledger, id, count, &rules, now) {
                        let least = rules.ejection(times.max(1));
                        prop_assert!(time >= least && time <= EJECTION_MAX);
                    }
                }
                Step::Fails(_) => {}
                Step::Passes(time) => {
                    now += time;
                    for id in ledger.tend(&rules, members(count), is_held, now) {
                        prop_assert!(!ledger.is_ejected(id));
                    }
                }
                Step::Members(members) => count = members,
                Step::Percent(percent) => rules.ejected_percent_max = percent,
            }
            if matches!(step, Step::Members(_) | Step::Percent(_)) {
                ledger.tend(&rules, members(count), is_held, now);
            }
            let most = count as usize * rules.ejected_percent_max as usize / 100;
            prop_assert!(ejected(&ledger, count) <= most);
            for (id, entry) in &ledger.entries {
                prop_assert!(*id < count || entry.is_ejected() && is_held(*id));
                if let Some(until) = entry.until() {
                    prop_assert!(until <= now + EJECTION_MAX);
                }
            }
        }
    }
}
