use super::*;
use proptest::prelude::*;

const TIMING: Timing = Timing {
    duration: Duration::from_secs(15),
    renew: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

fn held_by(holder: &str, version: u32) -> Record {
    Record {
        holder: holder.to_owned(),
        duration: TIMING.duration,
        transitions: 3,
        version: version.to_string(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn without_a_lease_one_is_made() {
    let election = Election::new("a", TIMING);

    assert_eq!(election.step(Instant::now()), Step::Create);
}

#[test]
fn the_lease_of_another_is_taken_once_it_was_not_renewed_for_its_duration() {
    let (mut election, start) = (Election::new("a", TIMING), Instant::now());

    election.observe(Some(held_by("b", 1)), start);
    election.observe(Some(held_by("b", 2)), start + seconds(10));
    election.observe(Some(held_by("b", 2)), start + seconds(20));

    assert_eq!(election.step(start + seconds(24)), Step::Wait);
    let taken = Step::Take { transitions: 4 };
    assert_eq!(election.step(start + seconds(25)), taken);
}

#[test]
fn a_lease_that_was_handed_back_is_taken_at_once() {
    let (mut election, now) = (Election::new("a", TIMING), Instant::now());
    election.observe(Some(held_by("", 1)), now);

    assert_eq!(election.step(now), Step::Take { transitions: 4 });
}

#[test]
fn what_is_ours_is_renewed_and_is_no_change() {
    let (mut election, now) = (Election::new("a", TIMING), Instant::now());
    election.wrote(held_by("a", 1), now);

    assert_eq!(election.step(now), Step::Take { transitions: 3 });
    assert!(election.is_held(now + seconds(9)));
    assert!(!election.is_held(now + seconds(10)));
}

#[test]
fn a_lease_that_says_we_hold_it_is_not_held_before_it_is_renewed() {
    let (mut election, now) = (Election::new("a", TIMING), Instant::now());
    election.observe(Some(held_by("a", 1)), now);

    assert!(!election.is_held(now));
}

#[test]
fn whoever_was_overtaken_holds_nothing() {
    let now = Instant::now();
    for overtake in [
        |election: &mut Election, now| election.observe(Some(held_by("b", 2)), now),
        |election: &mut Election, now| election.observe(None, now),
        |election: &mut Election, _| election.defeated(),
    ] {
        let mut election = Election::new("a", TIMING);
        election.wrote(held_by("a", 1), now);
        overtake(&mut election, now);

        assert!(!election.is_held(now));
        assert_eq!(election.step_down(), None);
    }
}

#[test]
fn a_lease_for_ever_is_not_believed() {
    let (mut election, now) = (Election::new("a", TIMING), Instant::now());
    let mut record = held_by("b", 1);
    record.duration = seconds(1_000_000);
    election.observe(Some(record), now);

    assert_eq!(
        election.step(now + DURATION_MAX),
        Step::Take { transitions: 4 }
    );
}

/// One contender in a model of an API server: it looks, and what it writes arrives later or never.
#[derive(Debug)]
struct Contender {
    election: Election,
    /// What it is writing: since when, over which version, with how many transitions.
    writing: Option<(Instant, Option<String>, i32)>,
}

/// What happens in the model.
#[derive(Debug, Clone)]
enum Happens {
    Looks(usize),
    Arrives(usize),
    IsLost(usize),
    StepsDown(usize),
    Passes(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Happens::Looks),
        4 => (0..3_usize).prop_map(Happens::Arrives),
        1 => (0..3_usize).prop_map(Happens::IsLost),
        1 => (0..3_usize).prop_map(Happens::StepsDown),
        4 => (1..8_000_u64).prop_map(Happens::Passes),
    ]
}

proptest! {
    /// However late requests are and whoever is stopped: never do two believe that it is they.
    #[test]
    fn there_is_never_more_than_one(story in prop::collection::vec(happens(), 1..100)) {
        let mut now = Instant::now();
        let mut lease: Option<Record> = None;
        let mut versions = 0;
        let mut contenders = ["a", "b", "c"].map(|it| Contender {
            election: Election::new(it, TIMING),
            writing: None,
        });
        for happens in story {
            match happens {
                Happens::Passes(milliseconds) => now += Duration::from_millis(milliseconds),
                Happens::IsLost(index) => contenders[index].writing = None,
                Happens::Looks(index) => {
                    let Contender { election, writing } = &mut contenders[index];
                    if writing.is_none() {
                        election.observe(lease.clone(), now);
                        let version = lease.as_ref().map(|it| it.version.clone());
                        *writing = match election.step(now) {
                            Step::Wait => None,
                            Step::Create => Some((now, None, 0)),
                            Step::Take { transitions } => Some((now, version, transitions)),
                        };
                    }
                }
                Happens::Arrives(index) => {
                    let Contender { election, writing } = &mut contenders[index];
                    if let Some((begun, over, transitions)) = writing.take() {
                        if lease.as_ref().map(|it| it.version.clone()) == over {
                            versions += 1;
                            let mut record = held_by(&election.identity, versions);
                            record.transitions = transitions;
                            lease = Some(record.clone());
                            election.wrote(record, begun);
                        } else {
                            election.defeated();
                        }
                    }
                }
                Happens::StepsDown(index) => {
                    let Contender { election, writing } = &mut contenders[index];
                    *writing = None;
                    if let Some(record) = election.step_down()
                        && lease.as_ref() == Some(&record)
                    {
                        versions += 1;
                        lease = Some(held_by("", versions));
                    }
                }
            }
            let holders = contenders.iter().filter(|it| it.election.is_held(now)).count();
            prop_assert!(holders <= 1, "{holders} at once");
        }
    }
}
