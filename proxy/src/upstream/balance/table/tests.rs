use super::*;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::telemetry::labels::TrafficId;
use crate::upstream::endpoint::{Endpoint, EndpointAddr};

const RING: Hashing = Hashing::Ring { points_min: 1_024 };
const MAGLEV: Hashing = Hashing::Maglev { slots: 65_537 };
const KEYS: u32 = 20_000;

fn member(host: u32, weight: u32) -> Member {
    let [_, high, mid, low] = host.to_be_bytes();
    let addr = EndpointAddr::Tcp(([10, high, mid, low], 9_080).into());
    Member {
        endpoint: Arc::new(Endpoint::new(addr)),
        weight,
        traffic: TrafficId::UNKNOWN,
        locality: None,
        channel: Default::default(),
    }
}

fn members(count: u32) -> Vec<Member> {
    (1..=count).map(|host| member(host, 1)).collect()
}

fn table(hashing: Hashing, members: &[Member]) -> Table {
    let positions: Vec<u32> = (0..).take(members.len()).collect();
    Table::new(hashing, members, &positions)
}

fn keys() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|user| stable_hash(format!("user-{user}").as_bytes()))
}

fn owners(table: &Table, members: &[Member]) -> Vec<String> {
    let owner = |key| {
        let position = table.find(key, |_| true).expect("a member");
        members[position as usize].endpoint.addr.to_string()
    };
    keys().map(owner).collect()
}

fn percent_moved(before: &[String], after: &[String]) -> f64 {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    moved as f64 * 100.0 / f64::from(KEYS)
}

#[test]
fn one_more_endpoint_moves_the_keys_that_it_gets_and_hardly_another() {
    for hashing in [RING, MAGLEV] {
        let (ten, eleven) = (members(10), members(11));
        let before = owners(&table(hashing, &ten), &ten);
        let after = owners(&table(hashing, &eleven), &eleven);

        let moved = percent_moved(&before, &after);
        let of_new = eleven[10].endpoint.addr.to_string();
        let gained = after.iter().filter(|owner| **owner == of_new).count();
        let gained = gained as f64 * 100.0 / f64::from(KEYS);
        assert!(moved <= 100.0 / 11.0 + 2.0, "{moved} % moved: {hashing:?}");
        assert!((gained - 100.0 / 11.0).abs() < 2.0, "{gained} %");
    }
}

#[test]
fn a_new_member_of_a_ring_takes_keys_and_nobody_else_gets_any() {
    let (ten, eleven) = (members(10), members(11));
    let before = owners(&table(RING, &ten), &ten);
    let after = owners(&table(RING, &eleven), &eleven);

    let of_new = eleven[10].endpoint.addr.to_string();
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *after == of_new);
    }
}

#[test]
fn where_the_size_of_a_ring_is_bounded_one_more_endpoint_moves_hardly_more() {
    let large = Hashing::Ring {
        points_min: 1 << 19,
    };
    for (hashing, count) in [
        (RING, 128),
        (RING, 129),
        (RING, 256),
        (RING, 500),
        (RING, 512),
        (large, 64),
        (large, 128),
    ] {
        let (before, after) = (members(count), members(count + 1));
        let moved = percent_moved(
            &owners(&table(hashing, &before), &before),
            &owners(&table(hashing, &after), &after),
        );

        let must = 100.0 / f64::from(count + 1);
        assert!(moved <= must + 2.0, "{moved} % moved: {hashing:?}, {count}");
    }
}

#[test]
fn two_proxies_agree_on_every_key_whatever_the_order() {
    for hashing in [RING, MAGLEV] {
        for count in [20, 300] {
            let hosts = 1..=count;
            let here: Vec<Member> = hosts.map(|host| member(host, host % 3 + 1)).collect();
            let mut there = here.clone();
            fastrand::Rng::with_seed(4).shuffle(&mut there);

            assert_eq!(
                owners(&table(hashing, &here), &here),
                owners(&table(hashing, &there), &there)
            );
        }
    }
}

#[test]
fn the_owner_of_a_key_is_the_same_in_every_release() {
    // What these say was recorded once: a change would move the keys of every user at an update, and
    // old and new proxies would not agree.
    let ten = members(10);
    let owner = |hashing, key: &[u8]| table(hashing, &ten).find(stable_hash(key), |_| true);

    let users: [&[u8]; 4] = [b"alice", b"bob", b"carol", b"dave"];
    let of_ring = users.map(|user| owner(RING, user).expect("a member"));
    let of_maglev = users.map(|user| owner(MAGLEV, user).expect("a member"));
    assert_eq!(of_ring, [6, 9, 6, 3]);
    assert_eq!(of_maglev, [3, 6, 3, 0]);
}

#[test]
fn keys_are_shared_by_weight() {
    for hashing in [RING, MAGLEV] {
        let members = [member(1, 1), member(2, 2), member(3, 5)];
        let table = table(hashing, &members);
        let mut counts = BTreeMap::new();
        for key in keys() {
            *counts.entry(table.find(key, |_| true)).or_insert(0_u32) += 1;
        }

        for (position, weight) in [(0, 1.0), (1, 2.0), (2, 5.0)] {
            let share = f64::from(counts[&Some(position)]) / f64::from(KEYS);
            let expected = weight / 8.0;
            assert!(
                (share - expected).abs() < 0.15 * expected + 0.01,
                "{share} of {expected}: {hashing:?}"
            );
        }
    }
}

#[test]
fn only_the_keys_of_a_member_that_cannot_be_used_go_elsewhere_and_to_all_the_others() {
    for hashing in [RING, MAGLEV] {
        let members = members(5);
        let table = table(hashing, &members);
        let mut heirs = BTreeMap::new();

        for key in keys() {
            let before = table.find(key, |_| true).expect("a member");
            let after = table.find(key, |it| it != 2).expect("a member");
            match before {
                2 => *heirs.entry(after).or_insert(0_u32) += 1,
                _ => assert_eq!(before, after),
            }
        }

        assert_eq!(heirs.len(), 4, "{heirs:?}");
        let least = heirs.values().min().expect("heirs");
        assert!(*least > KEYS / 5 / 4 / 2, "{heirs:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let len = |count, weight, points_min| {
        let mut members = members(count);
        members[0].weight = weight;
        match table(Hashing::Ring { points_min }, &members) {
            Table::Ring(ring) => ring.len(),
            Table::Maglev(_) => 0,
        }
    };

    assert_eq!(len(1, 1, 1_024), 1_024);
    assert_eq!(len(10, 1, 0), 10_240);
    assert_eq!(len(1_000, 1, 1_024), 131_000);
    assert_eq!(len(10_000, 1, 1_024), 1_280_000);
    assert!(len(3, 1, 100_000) >= 100_000);
    assert!(len(3, 1_000_000, 1_024) <= 1_026);
    assert!(len(1, 1, u64::MAX) <= 8 << 20);
}

#[test]
fn nobody_owns_a_key_among_none() {
    for hashing in [RING, MAGLEV] {
        assert_eq!(table(hashing, &[]).find(1, |_| true), None);
        assert_eq!(table(hashing, &members(3)).find(1, |_| false), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_member_that_leaves_moves_no_key_of_the_others_on_a_ring(
        hosts in prop::collection::btree_set(1..1_000_u32, 2..8),
        key in any::<u64>(),
    ) {
        let before: Vec<Member> = hosts.iter().map(|host| member(*host, 1)).collect();
        let after = &before[1..];

        let old = table(RING, &before).find(key, |_| true).expect("a member");
        let new = table(RING, after).find(key, |_| true).expect("a member");

        prop_assert!(old == 0 || new == old - 1);
    }
}
