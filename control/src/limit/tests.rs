use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const RATE: Rate = Rate {
    burst: 3,
    every: SECOND,
};

#[test]
fn a_burst_passes_then_one_for_each_time() {
    let (limiter, start) = (Limiter::new(RATE, 10), Instant::now());

    for _ in 0..3 {
        assert_eq!(limiter.admit("a", start), Ok(()));
    }
    assert_eq!(limiter.admit("a", start), Err(SECOND));
    assert_eq!(limiter.admit("a", start + SECOND), Ok(()));
    assert_eq!(limiter.admit("a", start + SECOND), Err(SECOND));
    let later = start + SECOND * 100;
    for _ in 0..3 {
        assert_eq!(limiter.admit("a", later), Ok(()));
    }
    limiter.admit("a", later).expect_err("time is not saved up");
}

#[test]
fn one_does_not_use_up_what_another_may() {
    let (limiter, now) = (Limiter::new(RATE, 10), Instant::now());
    while limiter.admit("a", now).is_ok() {}

    assert_eq!(limiter.admit("b", now), Ok(()));
}

#[test]
fn made_up_keys_take_no_memory_and_share_one_rate() {
    let (limiter, now) = (Limiter::new(RATE, 10), Instant::now());

    let admitted = (0..1_000)
        .filter(|key| limiter.admit(*key, now).is_ok())
        .count();

    assert_eq!(admitted, 10 + 3);
    assert!(limiter.used.lock().expect("nobody panicked").of.len() <= 10);
    let later = now + SECOND;
    assert_eq!(
        limiter.admit(5_000, later),
        Ok(()),
        "the others are forgotten"
    );
}

proptest! {
    /// However they come, no more pass in a time than the rate says.
    #[test]
    fn no_more_pass_than_the_rate_says(gaps in prop::collection::vec(0u64..2_500, 1..200)) {
        let (limiter, start) = (Limiter::new(RATE, 1), Instant::now());
        let mut now = start;
        let mut passed = 0u32;

        for gap in gaps {
            now += Duration::from_millis(gap);
            passed += u32::from(limiter.admit((), now).is_ok());
            let most = u64::from(RATE.burst) + (now - start).as_secs();
            prop_assert!(u64::from(passed) <= most);
        }
    }
}
