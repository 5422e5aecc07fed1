//! Requests that belong to an endpoint.

use super::*;
use crate::table::split::stable_hash;

pub(super) fn affinity(hashing: Hashing) -> Algorithm {
    Algorithm::Hash(Affinity {
        key: Some(HashKey::SourceIp),
        hashing,
    })
}

const BOTH: [Hashing; 2] = [
    Hashing::Ring { points_min: 1_024 },
    Hashing::Maglev { slots: 65_537 },
];

fn keys() -> impl Iterator<Item = u64> {
    (0..5_000_u32).map(|user| stable_hash(format!("user-{user}").as_bytes()))
}

fn owner(balancer: &Balancer, live: &Live, wish: &Wish<'_>) -> u16 {
    let mut rng = fastrand::Rng::new();
    port(balancer.pick(live, &mut rng, wish).expect("a member"))
}

fn owners(balancer: &Balancer, live: &Live) -> Vec<u16> {
    let of = |key| {
        let key = Some(key);
        owner(
            balancer,
            live,
            &Wish {
                key,
                ..Wish::default()
            },
        )
    };
    keys().map(of).collect()
}

#[test]
fn a_key_stays_with_its_endpoint_while_that_is_there() {
    for hashing in BOTH {
        let live = Live::default();
        let terms = Terms::of(affinity(hashing));
        let balancer = leveled(members(&[1; 5]), &[&[0, 1, 2, 3, 4]], terms, &live);

        let before = owners(&balancer, &live);
        only_without(&balancer, &live, &[2]);
        let without = owners(&balancer, &live);
        only_without(&balancer, &live, &[]);

        assert_eq!(before, owners(&balancer, &live), "back where they were");
        for (before, without) in before.iter().zip(&without) {
            assert!(*before == 3 && *without != 3 || before == without);
        }
        for port in 1..=5 {
            assert!(before.contains(&port));
        }
    }
}

#[test]
fn a_key_stays_in_its_level_and_only_what_must_goes_to_another() {
    for hashing in BOTH {
        let live = Live::default();
        let terms = Terms::of(affinity(hashing));
        let levels: [&[u32]; 2] = [&[0, 1, 2, 3], &[4, 5, 6, 7]];
        let balancer = leveled(members(&[1; 8]), &levels, terms, &live);

        let near = owners(&balancer, &live);
        assert!(near.iter().all(|port| *port <= 4));
        only_without(&balancer, &live, &[0, 1]);
        let spilled = owners(&balancer, &live);
        assert_eq!(spilled, owners(&balancer, &live), "nothing is drawn");
        let far = spilled.iter().filter(|port| **port > 4).count();
        let percent = far as f64 * 100.0 / spilled.len() as f64;
        assert!((percent - 30.0).abs() < 3.0, "{percent}");
        for (near, spilled) in near.iter().zip(&spilled) {
            assert!(*spilled > 4 || *near <= 2 || near == spilled);
        }
    }
}

#[test]
fn without_a_key_all_get_their_share() {
    for hashing in BOTH {
        let live = Live::default();
        let terms = Terms::of(affinity(hashing));
        let balancer = leveled(members(&[1; 4]), &[&[0, 1, 2, 3]], terms, &live);

        for percent in percents(&balancer, &live, 4) {
            assert!((percent - 25.0).abs() < 4.0, "{percent}");
        }
    }
}

#[test]
fn another_attempt_goes_to_the_next_endpoint_of_the_key() {
    for hashing in BOTH {
        let live = Live::default();
        let terms = Terms::of(affinity(hashing));
        let balancer = leveled(members(&[1; 3]), &[&[0, 1, 2]], terms, &live);
        let id = |port: u16| balancer.members()[usize::from(port) - 1].endpoint.id;
        let key = Some(stable_hash(b"alice"));
        let next = |tried: &[u64]| {
            let wish = Wish {
                key,
                ..avoiding(tried)
            };
            owner(&balancer, &live, &wish)
        };

        let first = next(&[]);
        let second = next(&[id(first)]);
        let third = next(&[id(first), id(second)]);
        let mut all = [first, second, third];
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(next(&[id(1), id(2), id(3)]), first, "all were tried");
        assert_eq!(next(&[id(first)]), second);
    }
}

#[test]
fn a_table_without_room_for_everybody_still_leads_to_somebody() {
    let live = Live::default();
    let terms = Terms::of(affinity(Hashing::Maglev { slots: 2 }));
    let balancer = leveled(members(&[1; 4]), &[&[0, 1, 2, 3]], terms, &live);

    for out in [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] {
        only_without(&balancer, &live, &out);
        for port in owners(&balancer, &live) {
            assert!(!out.contains(&(usize::from(port) - 1)));
        }
    }
}
