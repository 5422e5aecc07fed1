//! Rotations in time that is given.

use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn ring() -> Ring {
    Ring::make("test", DAY, start()).expect("a root")
}

fn believed(ring: &Ring) -> Vec<CertificateDer<'static>> {
    ring.roots().expect("roots").roots().to_vec()
}

/// Every step that is due at a time.
fn steps(ring: &mut Ring, now: SystemTime) -> Vec<Change> {
    let next = || ring.step(DAY, now).expect("a sound clock");
    std::iter::from_fn(next).collect()
}

/// The same after another root was asked for.
fn steps_when_asked(ring: &mut Ring, now: SystemTime) -> Vec<Change> {
    ring.ask();
    steps(ring, now)
}

#[test]
fn a_new_root_is_believed_for_longer_than_a_certificate_lives_before_it_signs() {
    let mut ring = ring();
    let first = ring.current.certificate().clone();

    assert_eq!(steps_when_asked(&mut ring, start()), [Change::Announced]);
    let both = believed(&ring);
    assert_eq!((both.len(), &both[0]), (2, &first));
    assert_eq!(ring.current.certificate(), &first);

    assert_eq!(steps(&mut ring, start() + DAY), []);
    let turned = start() + DAY + HOUR;
    assert_eq!(steps(&mut ring, turned), [Change::Turned]);
    assert_eq!(ring.current.certificate(), &both[1]);
    assert_eq!(believed(&ring).len(), 2);

    assert_eq!(steps(&mut ring, turned + DAY), []);
    let left = turned + DAY + CLOCK_SKEW * 2;
    assert_eq!(steps(&mut ring, left), [Change::Left]);
    assert_eq!(believed(&ring), [both[1].clone()]);
}

#[test]
fn a_root_is_replaced_by_itself_long_before_it_is_over() {
    let mut ring = ring();
    let years = |number: u32| start() + DAY * 365 * number;

    assert_eq!(steps(&mut ring, years(7)), []);
    assert_eq!(steps(&mut ring, years(8)), [Change::Announced]);
}

#[test]
fn after_a_long_absence_no_time_is_lost() {
    let mut ring = ring();
    let now = start() + ROOT_LIFETIME + DAY;

    let steps = steps(&mut ring, now);

    assert_eq!(steps, [Change::Announced, Change::Turned]);
    ring.trust(now).expect("it signs");
}

#[test]
fn what_is_asked_for_during_a_rotation_begins_when_it_is_over() {
    let mut ring = ring();
    steps_when_asked(&mut ring, start());

    for hour in [1, 2] {
        assert_eq!(steps_when_asked(&mut ring, start() + HOUR * hour), []);
    }
    assert_eq!(believed(&ring).len(), 2);
    let turned = start() + DAY + HOUR;
    assert_eq!(steps(&mut ring, turned), [Change::Turned]);
    // It outlives a restart.
    let files = ring.to_files().expect("files");
    let mut ring = Ring::from_files(&files, "test", DAY).expect("the same");
    let left = turned + DAY + CLOCK_SKEW * 2;
    let both = [Change::Left, Change::Announced];
    assert_eq!(steps(&mut ring, left), both);

    // Twice asked for is once asked for.
    let turned = left + DAY + HOUR;
    assert_eq!(steps(&mut ring, turned), [Change::Turned]);
    let left = turned + DAY + CLOCK_SKEW * 2;
    assert_eq!(steps(&mut ring, left), [Change::Left]);
}

#[test]
fn certificates_that_may_live_longer_have_the_rotation_last_longer() {
    let mut ring = ring();
    steps_when_asked(&mut ring, start());

    let change = ring.step(DAY * 3, start()).expect("a sound clock");

    assert_eq!(change, Some(Change::Longest));
    let step = |ring: &mut Ring, longest, now| ring.step(longest, now).expect("sound");
    assert_eq!(step(&mut ring, DAY * 3, start() + DAY * 2), None);
    // Those that were signed for three days stay so, whatever new ones are signed for.
    assert_eq!(step(&mut ring, DAY, start() + DAY * 2), None);
    let turned = start() + DAY * 3 + HOUR;
    assert_eq!(step(&mut ring, DAY, turned), Some(Change::Turned));
}

/// A workload between two renewals.
struct Workload {
    believes: Vec<CertificateDer<'static>>,
    signed_by: CertificateDer<'static>,
    renewed: SystemTime,
}

impl Workload {
    fn renew(ring: &Ring, now: SystemTime) -> Self {
        Self {
            believes: believed(ring),
            signed_by: ring.current.certificate().clone(),
            renewed: now,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens when, a restart in between too: a workload that renews while its certificate
    /// lives, and learns the roots only then, believes every certificate that has not expired.
    #[test]
    fn nobody_meets_a_certificate_that_he_does_not_believe(
        ticks in prop::collection::vec((1u32..20, any::<bool>(), prop::array::uniform3(12u32..24)), 1..40),
    ) {
        let mut ring = ring();
        let mut now = start();
        let mut workloads = [(); 3].map(|()| Workload::renew(&ring, now));

        for (hours, asked, late) in ticks {
            for hour in 0..hours {
                now += HOUR;
                if asked && hour == 0 {
                    ring.ask();
                }
                steps(&mut ring, now);
                for (workload, late) in workloads.iter_mut().zip(late) {
                    if now >= workload.renewed + HOUR * late {
                        *workload = Workload::renew(&ring, now);
                    }
                }
                for one in &workloads {
                    for other in &workloads {
                        prop_assert!(one.believes.contains(&other.signed_by));
                    }
                }
            }
            let files = ring.to_files().expect("files");
            ring = Ring::from_files(&files, "test", DAY).expect("the same");
        }
    }
}
