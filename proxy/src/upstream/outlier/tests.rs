use super::streaks::{Lengths, Volume};
use super::*;

fn rules() -> Detection {
    Detection {
        errors: 3,
        gateway_errors: 2,
        local_failures: LocalFailures::AsErrors,
        codes: ErrorCodes::ServerErrors,
        interval: Duration::from_secs(10),
        base: Duration::from_secs(30),
        ejected_percent_max: 100,
        success_rate: None,
    }
}

/// What each event leads to.
fn causes(rules: &Detection, events: &[Event]) -> Vec<Option<Cause>> {
    let streaks = Streaks::default();
    let note = |event: &Event| streaks.note(rules, *event);
    events.iter().map(note).collect()
}

const OK: Event = Event::Answered(200);
const INTERNAL: Event = Event::Answered(500);
const UNAVAILABLE: Event = Event::Answered(503);

#[test]
fn a_streak_leads_to_its_cause_and_begins_anew() {
    let errors = [INTERNAL; 7];

    assert_eq!(
        causes(&rules(), &errors),
        [
            None,
            None,
            Some(Cause::Errors),
            None,
            None,
            Some(Cause::Errors),
            None
        ]
    );
}

#[test]
fn any_good_answer_ends_a_streak() {
    let events = [
        INTERNAL,
        INTERNAL,
        OK,
        INTERNAL,
        INTERNAL,
        Event::Answered(404),
        INTERNAL,
    ];

    assert_eq!(causes(&rules(), &events), [None; 7]);
}

#[test]
fn errors_of_the_gateway_count_twice_and_others_end_their_streak() {
    assert_eq!(
        causes(&rules(), &[UNAVAILABLE, UNAVAILABLE]),
        [None, Some(Cause::GatewayErrors)]
    );
    assert_eq!(
        causes(&rules(), &[UNAVAILABLE, INTERNAL, UNAVAILABLE]),
        [None, None, Some(Cause::Errors)]
    );
}

#[test]
fn what_has_no_answer_counts_as_an_error_of_the_gateway() {
    assert_eq!(
        causes(&rules(), &[UNAVAILABLE, Event::Failed]),
        [None, Some(Cause::GatewayErrors)]
    );
}

#[test]
fn when_split_what_has_no_answer_counts_apart() {
    let rules = Detection {
        local_failures: LocalFailures::Apart(2),
        ..rules()
    };

    assert_eq!(
        causes(&rules, &[INTERNAL, INTERNAL, Event::Failed, INTERNAL]),
        [None, None, None, Some(Cause::Errors)],
        "it neither adds to the others nor ends them"
    );
    assert_eq!(
        causes(
            &rules,
            &[Event::Failed, INTERNAL, Event::Failed, Event::Failed]
        ),
        [None, None, None, Some(Cause::LocalFailures)],
        "any answer shows that there is a connection"
    );
}

#[test]
fn zero_is_never() {
    let off = Detection {
        errors: 0,
        gateway_errors: 0,
        ..rules()
    };
    assert_eq!(causes(&off, &[Event::Failed; 9]), [None; 9]);

    let split = Detection {
        local_failures: LocalFailures::Apart(0),
        ..off
    };
    assert_eq!(causes(&split, &[Event::Failed; 9]), [None; 9]);
}

#[test]
fn listed_codes_replace_server_errors() {
    let rules = Detection {
        codes: ErrorCodes::Listed([429, 503].into()),
        ..rules()
    };
    let limited = Event::Answered(429);

    assert_eq!(
        causes(&rules, &[limited, INTERNAL, limited, limited, limited]),
        [None, None, None, None, Some(Cause::Errors)]
    );
}

#[test]
fn a_limit_that_was_lowered_is_reached_at_once() {
    let (streaks, strict) = (Streaks::default(), rules());
    let lax = Detection {
        errors: 100,
        ..rules()
    };
    for _ in 0..50 {
        assert_eq!(streaks.note(&lax, INTERNAL), None);
    }

    assert_eq!(streaks.note(&strict, INTERNAL), Some(Cause::Errors));
    assert_eq!(streaks.lengths(), Lengths::default());
}

#[test]
fn of_many_workers_one_gets_the_cause() {
    let (streaks, rules) = (Streaks::default(), rules());
    let caused = std::thread::scope(|scope| {
        let worker = || {
            let causes = (0..30_000).map(|_| streaks.note(&rules, INTERNAL));
            causes.flatten().count()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        let counts = workers.into_iter().map(|it| it.join().expect("no panic"));
        counts.sum::<usize>()
    });

    // Where two meet one failure may be forgotten, but none leads to two ejections.
    assert!((1..=40_000).contains(&caused), "{caused}");
}

#[test]
fn volumes_are_counted_only_while_rates_are_compared() {
    let compared = Detection {
        success_rate: Some(Comparison {
            stdev_thousandths: 1_900,
            hosts_min: 2,
            requests_min: 1,
        }),
        ..rules()
    };
    for (rules, expected) in [
        (
            compared,
            Volume {
                requests: 3,
                successes: 2,
            },
        ),
        (rules(), Volume::default()),
    ] {
        let streaks = Streaks::default();
        for event in [OK, INTERNAL, OK] {
            streaks.note(&rules, event);
        }
        assert_eq!(streaks.take_volume(), expected);
        assert_eq!(streaks.take_volume(), Volume::default(), "taken once");
    }
}
