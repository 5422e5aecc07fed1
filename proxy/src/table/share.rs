//! A share of requests, by chance.

use config::value::Percent;

/// A whole in the unit of a share.
const WHOLE: u32 = 1_000_000;

/// How many of a million requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

// === impl Share ===

impl Share {
    /// Every request.
    pub const ALL: Self = Self(WHOLE);

    /// The share that is written, if it is more than nothing.
    pub fn of(percent: Percent) -> Option<Self> {
        match percent.millionths().min(WHOLE) {
            0 => None,
            millionths => Some(Self(millionths)),
        }
    }

    /// Whether a request is among them, for a `random` number of its own.
    pub fn hits(self, random: u64) -> bool {
        // The high half of the product is uniform in 0..WHOLE without a division.
        let at = (u128::from(random) * u128::from(WHOLE)) >> 64;
        at < u128::from(self.0)
    }

    /// The share in percent, for people.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(value: f64) -> Share {
        Share::of(Percent { value }).expect("a share")
    }

    #[test]
    fn a_million_draws_follow_the_share() {
        let mut rng = fastrand::Rng::with_seed(11);
        for percent in [0.1, 1.0, 20.0, 40.0, 99.9] {
            let share = share(percent);

            let hits = (0..1_000_000).filter(|_| share.hits(rng.u64(..))).count();

            let expected = percent * 10_000.0;
            // Six standard deviations of a million draws.
            let allowed = 6.0 * (expected * (1.0 - percent / 100.0)).sqrt();
            assert!(
                (hits as f64 - expected).abs() < allowed,
                "{hits} of {percent} %"
            );
        }
    }

    #[test]
    fn a_millionth_is_the_least() {
        let least = share(0.0001);

        assert!(least.hits(0) && least.hits(u64::MAX / 1_000_000));
        assert!(!least.hits(u64::MAX / 1_000_000 + 1));
        assert_eq!(least.percent(), 0.0001);
        assert_eq!(Share::of(Percent { value: 0.0 }), None);
    }

    proptest! {
        #[test]
        fn all_are_hit_by_the_whole_and_by_larger_shares(random in any::<u64>(), part in 0.01..100.0) {
            prop_assert!(Share::ALL.hits(random));
            let (part, more) = (share(part), share((part + 1.0_f64).min(100.0)));
            prop_assert!(!part.hits(random) || more.hits(random));
        }
    }
}
