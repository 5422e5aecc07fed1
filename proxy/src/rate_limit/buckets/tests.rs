use std::time::Duration;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn per_second(requests: u32, burst: u32) -> Rate {
    Rate::new(requests, Duration::from_secs(1), burst)
}

fn table(rate: Rate) -> KeyTable {
    table_within(rate, &Arc::new(Budget::new(PLACES_MAX)))
}

fn table_within(rate: Rate, budget: &Arc<Budget>) -> KeyTable {
    let evicted = IntCounter::new("evicted", "Keys.").expect("a valid name");
    KeyTable::new(rate, evicted, Arc::clone(budget))
}

fn key(table: &KeyTable, name: usize) -> Key {
    let mut key = table.key();
    key.part(&name.to_le_bytes());
    key.finish()
}

/// Runs `work` on as many threads, with their numbers, and adds up what it gives.
fn on_threads(threads: u64, work: impl Fn(u64) -> usize + Sync) -> usize {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    })
}

#[test]
fn threads_together_pass_exactly_the_burst_and_the_rate() {
    let rate = per_second(1_000, 50);
    let bucket = Bucket::new(rate);
    let table = table(rate);
    let one = key(&table, 1);

    // Every thread goes through the same ten seconds, at its own pace.
    let passes = |take: &(dyn Fn(u64) -> bool + Sync)| {
        on_threads(4, |_| {
            let moments = (0..10_000).map(|milli| milli * SECOND / 1_000);
            moments.filter(|now| take(*now)).count()
        })
    };
    let by_one = passes(&|now| bucket.take(now).is_ok());
    let by_key = passes(&|now| table.take(one, now).is_ok());

    for passed in [by_one, by_key] {
        assert!(passed <= 50 + 10_000, "{passed}");
        assert!(passed >= 9_900, "{passed}");
    }
}

#[test]
fn at_one_moment_exactly_the_burst_passes_whoever_asks() {
    let rate = per_second(1, 1_000);
    let bucket = Bucket::new(rate);

    let passed = on_threads(8, |_| (0..1_000).filter(|_| bucket.take(0).is_ok()).count());

    assert_eq!(passed, 1_000);
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let rate = per_second(1, 2);
    let (bucket, table) = (Bucket::new(rate), table(rate));
    let one = key(&table, 1);

    for _ in 0..10 {
        let taken = bucket.take(0).expect("it was given back");
        bucket.give_back(taken, 0);
        let taken = table.take(one, 0).expect("it was given back");
        table.give_back(one, taken, 0);
    }

    assert_eq!((bucket.left(0), table.used(0)), (2, 0));
}

#[test]
fn every_key_has_a_bucket_of_its_own() {
    let rate = per_second(1, 3);
    let table = table(rate);

    for _ in 0..3 {
        for name in 0..1_000 {
            assert!(table.take(key(&table, name), 0).is_ok(), "{name}");
        }
    }
    for name in 0..1_000 {
        assert!(table.take(key(&table, name), 0).is_err(), "{name}");
    }
    assert_eq!((table.used(0), table.evicted()), (1_000, 0));
}

#[test]
fn where_a_part_of_a_key_ends_counts() {
    let table = table(per_second(1, 1));
    let joined = |parts: &[&str]| {
        let mut key = table.key();
        for part in parts {
            key.part(part.as_bytes());
        }
        key.finish()
    };

    assert_ne!(joined(&["ab", "c"]), joined(&["a", "bc"]));
    assert_eq!(joined(&["ab", "c"]), joined(&["ab", "c"]));
}

#[test]
fn a_million_keys_at_once_stay_within_the_memory_that_is_promised() {
    let rate = per_second(1, 1);
    let table = table(rate);
    let small = table.bytes();

    for name in 0..1_000_000 {
        assert!(table.take(key(&table, name), 0).is_ok(), "{name}");
    }

    assert!(small <= 16 * 1024, "{small} bytes at first");
    assert!(table.bytes() <= KEYS_MAX * 16, "{} bytes", table.bytes());
    let kept = table.used(0) as u64;
    assert_eq!(kept + table.evicted(), 1_000_000);
    assert!(kept > 850_000, "{kept} kept");
}

#[test]
fn keys_that_come_after_each_other_need_the_memory_of_those_in_use() {
    let rate = per_second(1_000, 1);
    let table = table(rate);

    // A million keys, of which a hundred are in use at any moment.
    for name in 0..1_000_000 {
        let now = name as u64 * SECOND / 100_000;
        assert!(table.take(key(&table, name), now).is_ok(), "{name}");
    }

    assert_eq!(table.evicted(), 0);
    assert!(table.bytes() <= 64 * 1024, "{} bytes", table.bytes());
}

#[test]
fn under_pressure_those_go_first_that_used_least() {
    let rate = per_second(1, 1_000);
    let table = table(rate);
    let heavy = key(&table, usize::MAX);
    for _ in 0..1_000 {
        assert!(table.take(heavy, 0).is_ok());
    }

    for name in 0..2 * KEYS_MAX {
        let _ = table.take(key(&table, name), 0);
    }

    assert!(table.evicted() > 0);
    assert!(
        table.take(heavy, 0).is_err(),
        "who used up its share does not get a new one by asking under other names"
    );
}

#[test]
fn tables_of_a_proxy_share_what_memory_there_is_and_give_it_back() {
    const FIRST: usize = SHARDS * WAYS;
    let budget = Arc::new(Budget::new(16 * FIRST));
    let rate = per_second(1, 1);
    let crowd = |table: &KeyTable| {
        for name in 0..20 * FIRST {
            assert!(table.take(key(table, name), 0).is_ok(), "{name}");
        }
    };

    let tables: Vec<KeyTable> = (0..20).map(|_| table_within(rate, &budget)).collect();
    tables.iter().for_each(crowd);

    // More tables than there is memory for: each has its first places and none grew.
    assert_eq!(budget.taken(), 20 * FIRST);
    assert!(tables.iter().all(|table| table.used(0) == FIRST));
    assert!(tables.iter().all(|table| table.evicted() > 0));
    drop(tables);
    assert_eq!(budget.taken(), 0);

    let (large, small) = (table_within(rate, &budget), table_within(rate, &budget));
    crowd(&large);
    crowd(&small);

    let places = [&large, &small].map(KeyTable::places);
    assert_eq!(budget.taken(), places[0] + places[1]);
    assert!(budget.taken() <= 16 * FIRST, "{places:?}");
    assert!(places[0] > places[1], "who came first has grown");
    drop(large);
    assert_eq!(budget.taken(), places[1]);
}

#[test]
fn other_numbers_are_for_every_key_and_for_who_is_still_with_the_old_ones() {
    let (old, new) = (per_second(10, 10), per_second(1, 20));
    let (bucket, table) = (Bucket::new(old), table(old));
    let names = 0..5_000_usize;
    for name in names.clone() {
        for _ in 0..=name % 10 {
            assert!(table.take(key(&table, name), 0).is_ok(), "{name}");
        }
    }
    let early = bucket.take(0).expect("it is full");

    bucket.change(new, 0);
    table.change(new, 0);

    for name in names {
        let key = key(&table, name);
        let left = (0..20).filter(|_| table.take(key, 0).is_ok()).count();
        assert_eq!(left, 20 - (name % 10 + 1), "{name}");
    }
    assert_eq!(bucket.left(0), 19);
    assert_eq!(bucket.take(0).map(|it| it.interval), Ok(SECOND));
    // What was taken before is given back as what it was then, and never as more than it is now.
    bucket.give_back(early, 0);
    assert_eq!(bucket.left(0), 18);
    let late = bucket.take(0).expect("there are some left");
    bucket.change(per_second(1_000, 1_000), 0);
    bucket.give_back(late, 0);
    assert_eq!(bucket.left(0), 998);
}
