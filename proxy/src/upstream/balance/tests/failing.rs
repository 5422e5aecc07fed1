//! Endpoints that are taken out and come back.

use super::*;
use proptest::prelude::*;

fn terms(panic_percent: u32) -> Terms {
    Terms {
        panic_percent,
        ..Terms::of(Algorithm::LeastRequest)
    }
}

fn none_is_picked(balancer: &Balancer, live: &Live) -> bool {
    let mut rng = fastrand::Rng::with_seed(3);
    balancer.pick(live, &mut rng, &Wish::default()).is_none()
}

#[test]
fn who_is_taken_out_gets_nothing_until_it_is_back() {
    let live = Live::default();
    for balancer in [
        Balancer::least_request(members(&[1, 1, 1])),
        Balancer::random(members(&[1, 1, 1])),
        Balancer::round_robin(members(&[1, 1, 1])),
        Balancer::round_robin(members(&[1, 5, 1])),
    ] {
        only_without(&balancer, &live, &[1]);
        assert_near(&percents(&balancer, &live, 3), &[50.0, 0.0, 50.0]);

        only_without(&balancer, &live, &[]);
        assert!(percents(&balancer, &live, 3)[1] > 30.0);
    }
}

#[test]
fn with_nobody_left_nobody_is_picked() {
    let live = Live::default();
    for count in [1, 3] {
        let balancer = Balancer::least_request(members(&vec![1; count]));

        only_without(&balancer, &live, &[0, 1, 2]);
        assert!(none_is_picked(&balancer, &live));
        only_without(&balancer, &live, &[1, 2]);
        assert_eq!(picks_of(&balancer, &live, 1), [1]);
    }
}

#[test]
fn who_was_out_before_the_reload_is_still_out() {
    let live = Live::default();
    let members = members(&[1, 1]);
    members[0].endpoint.health.set(Ailment::Ejected);
    live.changed();

    let balancer = leveled(members, &[&[0, 1]], terms(0), &live);

    assert_near(&percents(&balancer, &live, 2), &[0.0, 100.0]);
}

#[test]
fn below_the_least_share_all_are_used() {
    let live = Live::default();
    let balancer = leveled(members(&[1; 4]), &[&[0, 1, 2, 3]], terms(50), &live);

    only_without(&balancer, &live, &[0, 1]);
    assert_near(&percents(&balancer, &live, 4), &[0.0, 0.0, 50.0, 50.0]);
    only_without(&balancer, &live, &[0, 1, 2]);
    assert_near(&percents(&balancer, &live, 4), &[25.0; 4]);
    only_without(&balancer, &live, &[0, 1, 2, 3]);
    assert_near(&percents(&balancer, &live, 4), &[25.0; 4]);
}

#[test]
fn the_nearest_level_is_used_until_it_is_unhealthy_then_the_next_and_back() {
    let live = Live::default();
    let levels: [&[u32]; 3] = [&[4, 5], &[0, 1], &[2, 3]];
    let balancer = leveled(members(&[1; 6]), &levels, terms(0), &live);
    let shares = |out: &[usize]| {
        only_without(&balancer, &live, out);
        percents(&balancer, &live, 6)
    };

    let (near, next, last) = (
        [0.0, 0.0, 0.0, 0.0, 50.0, 50.0],
        [50.0, 50.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 50.0, 50.0, 0.0, 0.0],
    );
    assert_near(&shares(&[]), &near);
    assert_near(&shares(&[4]), &[15.0, 15.0, 0.0, 0.0, 0.0, 70.0]);
    assert_near(&shares(&[4, 5]), &next);
    assert_near(&shares(&[0, 1, 4, 5]), &last);
    assert_near(&shares(&[0, 4, 5]), &[0.0, 70.0, 15.0, 15.0, 0.0, 0.0]);
    assert_near(&shares(&[4, 5]), &next);
    assert_near(&shares(&[]), &near);
    only_without(&balancer, &live, &[0, 1, 2, 3, 4, 5]);
    assert!(none_is_picked(&balancer, &live));
}

#[test]
fn another_level_is_tried_only_by_who_goes_far() {
    let live = Live::default();
    let balancer = leveled(members(&[1; 3]), &[&[0, 1], &[2]], terms(0), &live);
    let members = balancer.members().iter();
    let ids: Vec<u64> = members.map(|member| member.endpoint.id).collect();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut pick = |wish: &Wish<'_>| port(balancer.pick(&live, &mut rng, wish).expect("a member"));

    assert_eq!(pick(&avoiding(&ids[..1])), 2);
    assert_ne!(pick(&avoiding(&ids[..2])), 3, "the level is what it is");
    let far = Wish {
        far: true,
        ..avoiding(&ids[..2])
    };
    assert_eq!(pick(&far), 3);
}

#[test]
fn people_are_shown_what_is_asked() {
    let live = Live::default();
    let balancer = leveled(members(&[1; 4]), &[&[0, 1], &[2, 3]], terms(0), &live);
    let shown = |out: &[usize]| -> Vec<(usize, f64, Vec<u16>)> {
        only_without(&balancer, &live, out);
        let standings = balancer.standings(&live).into_iter();
        let shown = standings.map(|it| {
            let ports = it.members.iter().map(|member| port(member)).collect();
            (it.level, it.share, ports)
        });
        shown.collect()
    };

    assert_eq!(shown(&[]), [(0, 1.0, vec![1, 2]), (1, 0.0, vec![3, 4])]);
    assert_eq!(shown(&[0]), [(0, 0.7, vec![2]), (1, 0.3, vec![3, 4])]);
    assert_eq!(shown(&[0, 1]), [(1, 1.0, vec![3, 4])]);
    assert_eq!(balancer.level_of(3), Some(1));
}

#[test]
fn a_plan_is_made_once_for_all_workers() {
    let live = Arc::new(Live::default());
    let balancer = Arc::new(Balancer::round_robin(members(&[1, 1, 1])));
    only_without(&balancer, &live, &[0]);

    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (live, balancer) = (Arc::clone(&live), Arc::clone(&balancer));
            std::thread::spawn(move || {
                picks_of(&balancer, &live, 1);
                picks_of(&balancer, &live, 10_000)
            })
        })
        .collect();
    let picked: Vec<Vec<u16>> = workers
        .into_iter()
        .map(|it| it.join().expect("no panic"))
        .collect();

    // While one makes the plan another may still go by the one before.
    let last = picked.iter().map(|picks| picks[9_999]);
    assert!(last.into_iter().all(|port| port != 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn picks_follow_the_shares_that_are_shown(
        levels in prop::collection::vec(0..3_usize, 2..9),
        out in prop::collection::vec(any::<bool>(), 9),
    ) {
        let live = Live::default();
        let of_level = |level| -> Vec<u32> {
            (0..levels.len()).filter(|at| levels[*at] == level).map(|at| at as u32).collect()
        };
        let positions: Vec<Vec<u32>> = (0..3).map(of_level).collect();
        let slices: Vec<&[u32]> = positions.iter().map(|it| &**it).collect();
        let terms = Terms::of(Algorithm::Random);
        let balancer = leveled(members(&vec![1; levels.len()]), &slices, terms, &live);
        let gone: Vec<usize> = (0..levels.len()).filter(|at| out[*at]).collect();
        only_without(&balancer, &live, &gone);
        let mut expected = vec![0.0; levels.len()];
        for standing in balancer.standings(&live) {
            for member in &standing.members {
                let percent = standing.share * 100.0 / standing.members.len() as f64;
                expected[usize::from(port(member)) - 1] = percent;
            }
        }

        if gone.len() < levels.len() {
            assert_near(&percents(&balancer, &live, levels.len() as u16), &expected);
        } else {
            prop_assert!(none_is_picked(&balancer, &live));
        }
    }

    #[test]
    fn who_is_out_is_never_picked_unless_all_of_its_level_are_used(
        weights in prop::collection::vec(1..20_u32, 1..12),
        out in prop::collection::vec(any::<bool>(), 12),
        levels in prop::collection::vec(0..3_usize, 12),
        panic_percent in prop_oneof![Just(0), 0..=100_u32],
        algorithm in prop_oneof![
            Just(Algorithm::LeastRequest),
            Just(Algorithm::Random),
            Just(Algorithm::RoundRobin),
            Just(hashing::affinity(Hashing::Ring { points_min: 64 })),
            Just(hashing::affinity(Hashing::Maglev { slots: 251 })),
        ],
        keys in prop::collection::vec(any::<u64>(), 16),
    ) {
        let live = Live::default();
        let of_level = |level| -> Vec<u32> {
            (0..weights.len()).filter(|at| levels[*at] == level).map(|at| at as u32).collect()
        };
        let positions: Vec<Vec<u32>> = (0..3).map(of_level).collect();
        let slices: Vec<&[u32]> = positions.iter().map(|it| &**it).collect();
        let terms = Terms { panic_percent, ..Terms::of(algorithm) };
        let balancer = leveled(members(&weights), &slices, terms, &live);
        let gone: Vec<usize> = (0..weights.len()).filter(|at| out[*at]).collect();
        only_without(&balancer, &live, &gone);
        let mut rng = fastrand::Rng::with_seed(keys[0]);

        let standings = balancer.standings(&live);
        let total: f64 = standings.iter().map(|it| it.share).sum();
        for key in keys {
            let wish = Wish { key: Some(key), ..Wish::default() };
            let picked = balancer.pick(&live, &mut rng, &wish);
            match picked {
                None => prop_assert!(gone.len() == weights.len() && panic_percent == 0),
                Some(picked) => {
                    let has = |members: &[&Member]| {
                        members.iter().any(|it| it.endpoint.id == picked.endpoint.id)
                    };
                    let standing = standings.iter().find(|it| has(&it.members)).expect("asked");
                    prop_assert!(standing.share > 0.0);
                    prop_assert!(picked.endpoint.health.is_available() || standing.panics);
                    prop_assert!((total - 1.0).abs() < 1e-9, "{total}");
                }
            }
        }
    }
}
