//! One bucket by the generic cell rate algorithm: a token bucket whose whole state is one time.
//!
//! The state is when the bucket will be full again. A request puts it off by the interval from one
//! request to the next, and is refused if that would be further away than a full bucket takes. A
//! time in the past is a full bucket, so that a new bucket is 0, nothing has to be refilled, and what
//! is full need not be kept.

use std::time::Duration;

use super::nanos;

/// Longest time that a bucket may take to fill; keeps sums far from the end of 64 bits.
const FILL_NANOS_MAX: u64 = 1 << 61;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one request to the next, at least 1; rounded up, so that no more pass than
    /// was asked for.
    pub(super) interval: u64,
    /// Nanoseconds in which the empty bucket is full, at least `interval`.
    pub(super) fill: u64,
}

/// A request that was taken, for the case that it has to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// State of the bucket after it.
    pub(super) full_at: u64,
    /// What it cost.
    pub(super) interval: u64,
}

// === impl Rate ===

impl Rate {
    /// `requests` in `per`, of which `burst` may come at once.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let interval = nanos(per).div_ceil(u64::from(requests.max(1)));
        let interval = interval.clamp(1, FILL_NANOS_MAX);
        let fill = interval.saturating_mul(u64::from(burst.max(1)));
        Self {
            interval,
            fill: fill.min(FILL_NANOS_MAX),
        }
    }

    /// The state after one more request at `now`.
    ///
    /// # Errors
    ///
    /// The nanoseconds until one may pass, if none may now.
    pub fn take(self, full_at: u64, now: u64) -> Result<Receipt, u64> {
        let later = full_at.max(now) + self.interval;
        let latest = now + self.fill;
        if later > latest {
            return Err(later - latest);
        }
        Ok(Receipt {
            full_at: later,
            interval: self.interval,
        })
    }

    /// Requests that may pass at `now`.
    pub fn left(self, full_at: u64, now: u64) -> u64 {
        (now + self.fill).saturating_sub(full_at.max(now)) / self.interval
    }

    /// The state of a bucket that had the numbers `old` until `now` and has these from now on. As many
    /// requests are used as before, and are refilled at the new rate. A smaller bucket is empty when
    /// more was used than it holds, but not emptier. Rounded up: nothing that was used is lost.
    pub fn converted(self, old: Self, full_at: u64, now: u64) -> u64 {
        let debt = u128::from(full_at.saturating_sub(now)) * u128::from(self.interval);
        let debt = debt.div_ceil(u128::from(old.interval));
        now + u64::try_from(debt).map_or(self.fill, |debt| debt.min(self.fill))
    }
}

// === impl Receipt ===

impl Receipt {
    /// What is to be taken off the state to give the request back at `now`: its cost, but not what
    /// has been refilled since. So giving back never makes room for more than if the request had not
    /// been taken.
    pub fn refund(self, now: u64) -> u64 {
        self.full_at.saturating_sub(now).min(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(requests: u32, per: u64, burst: u32) -> Rate {
        Rate::new(requests, Duration::from_nanos(per), burst)
    }

    /// Takes one request; whether it passed.
    fn pass(rate: Rate, state: &mut u64, now: u64) -> bool {
        let taken = rate.take(*state, now);
        if let Ok(receipt) = taken {
            *state = receipt.full_at;
        }
        taken.is_ok()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_per_interval() {
        let (rate, mut state) = (rate(1, 5 * SECOND, 1), 0);

        let passed: Vec<u64> = (0..200)
            .map(|tenth| tenth * SECOND / 10)
            .filter(|now| pass(rate, &mut state, *now))
            .map(|now| now / SECOND)
            .collect();

        assert_eq!(passed, [0, 5, 10, 15]);
    }

    #[test]
    fn who_is_refused_learns_how_long_to_wait() {
        let (rate, mut state) = (rate(2, SECOND, 2), 0);
        assert!(pass(rate, &mut state, 0) && pass(rate, &mut state, 0));

        assert_eq!(rate.take(state, 0), Err(SECOND / 2));
        assert_eq!(rate.take(state, SECOND / 4), Err(SECOND / 4));
        assert_eq!(rate.left(state, SECOND / 2), 1);
        assert!(rate.take(state, SECOND / 2).is_ok());
    }

    #[test]
    fn what_was_used_stays_used_when_the_numbers_change() {
        const HOUR: u64 = 3_600 * SECOND;
        let ten = rate(10, HOUR, 10);
        let mut used_up = 0;
        while pass(ten, &mut used_up, 0) {}

        for (new, left, wait) in [
            (rate(1, HOUR, 10), 0, HOUR),
            (rate(10, 24 * HOUR, 10), 0, 24 * HOUR / 10),
            (rate(1_000, HOUR, 1_000), 990, 0),
            (rate(20, HOUR, 20), 10, 0),
            // Empty, and not emptier than that.
            (rate(1, SECOND, 1), 0, SECOND),
        ] {
            let state = new.converted(ten, used_up, 0);

            assert_eq!(new.left(state, 0), left, "{new:?}");
            assert_eq!(new.take(state, 0).err().unwrap_or(0), wait, "{new:?}");
        }
    }

    #[test]
    fn ten_seconds_of_saturation_are_within_one_percent_at_any_rate() {
        for requests in [1_u32, 7, 99, 500, 3_000] {
            const BURST: u32 = 2;
            let (rate, mut state) = (rate(requests, SECOND, BURST), 0);
            // More callers than the limit allows, each trying again and again.
            let step = SECOND / u64::from(requests) / 13;

            let tries = (0..).map(|n| n * step).take_while(|now| *now < 10 * SECOND);
            let passed = tries.filter(|now| pass(rate, &mut state, *now)).count();

            let wanted = 10 * requests as usize;
            let most = wanted + BURST as usize;
            assert!(
                (wanted * 99 / 100..=most).contains(&passed),
                "{passed} of {wanted}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_burst_and_the_rate(
            requests in 1..1_000_u32,
            burst in 1..50_u32,
            per in 1_000_000..10 * SECOND,
            steps in prop::collection::vec(0..50_000_000_u64, 1..400),
        ) {
            let rate = rate(requests, per, burst);
            let (mut state, mut now) = (0, 0);
            let mut passed = Vec::new();
            for step in steps {
                now += step;
                if pass(rate, &mut state, now) {
                    passed.push(now);
                }
            }

            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    let most = u64::from(burst) + (to - from) / rate.interval;
                    prop_assert!(count <= most, "{count} > {most} from {from} to {to}");
                }
            }
        }

        #[test]
        fn what_waits_as_long_as_it_is_told_passes_and_not_sooner(
            requests in 1..1_000_u32,
            burst in 1..50_u32,
            state in 0..20 * SECOND,
            now in 0..20 * SECOND,
        ) {
            let rate = rate(requests, SECOND, burst);
            if let Err(wait) = rate.take(state, now) {
                prop_assert!(rate.take(state, now + wait).is_ok());
                prop_assert!(rate.take(state, now + wait - 1).is_err());
            }
        }

        #[test]
        fn other_numbers_leave_what_they_allow_less_what_was_used(
            old in (1..5_000_u32, 1_000_000..100_000 * SECOND, 1..5_000_u32),
            new in (1..5_000_u32, 1_000_000..100_000 * SECOND, 1..5_000_u32),
            wish in 0..5_000_u32,
            start in 0..1_000 * SECOND,
        ) {
            let ((requests, per, old_burst), used) = (old, wish.min(old.2));
            let old = rate(requests, per, old_burst);
            let (requests, per, burst) = new;
            let new = rate(requests, per, burst);
            let mut state = 0;
            for _ in 0..used {
                prop_assert!(pass(old, &mut state, start));
            }

            let mut state = new.converted(old, state, start);

            let expected = u64::from(burst.saturating_sub(used));
            prop_assert_eq!(new.left(state, start), expected);
            // From now on as many are refilled as the new numbers say.
            let later = start + new.interval;
            let passed = (0..=expected + 1).filter(|_| pass(new, &mut state, later)).count();
            prop_assert_eq!(passed as u64, (expected + 1).min(u64::from(burst)));
        }

        #[test]
        fn there_and_back_gives_no_request_that_the_smaller_bucket_does_not_give(
            old in (1..5_000_u32, 1_000_000..100_000 * SECOND, 1..5_000_u32),
            new in (1..5_000_u32, 1_000_000..100_000 * SECOND, 1..5_000_u32),
            debt in 0..100_000 * SECOND,
        ) {
            let [old, new] = [old, new].map(|(requests, per, burst)| rate(requests, per, burst));
            let state = debt.min(old.fill);

            let there = new.converted(old, state, 0);
            let back = old.converted(new, there, 0);

            let forgotten = (old.fill / old.interval).saturating_sub(new.fill / new.interval);
            prop_assert!(old.left(back, 0) <= old.left(state, 0) + forgotten);
        }

        #[test]
        fn a_request_that_is_given_back_makes_room_for_no_more_than_one_that_never_came(
            burst in 1..20_u32,
            before in 0..10 * SECOND,
            others in prop::collection::vec(0..SECOND / 2, 0..20),
            end in 0..3 * SECOND,
        ) {
            let rate = rate(10, SECOND, burst);
            let (mut with, mut without) = (before, before);
            let Ok(receipt) = rate.take(with, before) else { return Ok(()) };
            with = receipt.full_at;
            let mut now = before;
            for step in others {
                now += step;
                if pass(rate, &mut with, now) {
                    pass(rate, &mut without, now);
                }
            }
            now += end;

            with -= receipt.refund(now);

            prop_assert!(rate.left(with, now) <= rate.left(without, now));
        }
    }
}
