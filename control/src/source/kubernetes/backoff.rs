//! How long to wait before the API server is asked again.

use std::time::{Duration, Instant};

/// Wait after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest wait: how late a change may be after the API server is back.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A failure that is this long ago is forgotten.
const MEMORY: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

// === impl Backoff ===

impl Backoff {
    /// The wait after a failure at `now`; `chance` is in `0.0..1.0` and keeps those who failed together
    /// from coming back together.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) -> Duration {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) > MEMORY)
        {
            self.failures = 0;
        }
        let doubled = PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(PAUSE_MAX).mul_f64(0.5 + chance / 2.0);
        self.last = Some(now + pause);
        pause
    }

    /// Something came: what fails next is a first failure.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let waits: Vec<Duration> = (0..40).map(|_| backoff.failed(now, 1.0)).collect();

        assert_eq!(waits[..3], [200, 400, 800].map(Duration::from_millis));
        assert_eq!(waits[39], PAUSE_MAX);
    }

    #[test]
    fn chance_takes_at_most_half_of_a_wait() {
        assert_eq!(
            Backoff::default().failed(Instant::now(), 0.0),
            PAUSE_MIN / 2
        );
    }

    #[test]
    fn a_success_and_a_long_quiet_make_a_failure_the_first() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(now, 1.0);
        backoff.failed(now, 1.0);
        let mut quiet = Backoff {
            failures: 5,
            last: Some(now),
        };
        backoff.succeeded();

        assert_eq!(backoff.failed(now, 1.0), PAUSE_MIN);
        let later = now + MEMORY + Duration::from_secs(1);
        assert_eq!(quiet.failed(later, 1.0), PAUSE_MIN);
    }
}
