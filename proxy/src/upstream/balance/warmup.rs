//! Endpoints that are new get less at first.

use std::time::Duration;

/// Into how many steps a window is cut: after each, shares are worked out again.
const STEPS: u32 = 50;
/// Shortest step.
const STEP_MIN: Duration = Duration::from_millis(100);

/// How the share of a new endpoint grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// Age at which it has its whole share.
    pub duration: Duration,
    /// Part of its share at first, 0–1.
    pub least: f64,
    /// Above 1 the share grows faster at first, below 1 slower.
    pub aggression: f64,
}

// === impl Warmup ===

impl Warmup {
    /// The part of its share that an endpoint of this age has, 0–1.
    pub(super) fn part(&self, age: Duration) -> f64 {
        if age >= self.duration {
            return 1.0;
        }
        let passed = age.as_secs_f64() / self.duration.as_secs_f64();
        passed.powf(1.0 / self.aggression).max(self.least).min(1.0)
    }

    /// After how long the parts are worked out again while anything warms up.
    pub(super) fn step(&self) -> Duration {
        (self.duration / STEPS).max(STEP_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_with_age() {
        let secs = Duration::from_secs;
        let linear = Warmup {
            duration: secs(100),
            least: 0.1,
            aggression: 1.0,
        };
        let (fast, slow) = (
            Warmup {
                aggression: 2.0,
                ..linear
            },
            Warmup {
                aggression: 0.5,
                ..linear
            },
        );

        for (age, of_linear, of_fast, of_slow) in [
            (0, 0.1, 0.1, 0.1),
            (5, 0.1, 0.223, 0.1),
            (25, 0.25, 0.5, 0.1),
            (50, 0.5, 0.707, 0.25),
            (100, 1.0, 1.0, 1.0),
            (1_000, 1.0, 1.0, 1.0),
        ] {
            for (warmup, expected) in [(linear, of_linear), (fast, of_fast), (slow, of_slow)] {
                let part = warmup.part(secs(age));
                assert!(
                    (part - expected).abs() < 0.001,
                    "{part} at {age} s: {warmup:?}"
                );
            }
        }
        assert_eq!(linear.step(), secs(2));
    }
}
