//! When a burst of events is over.

use std::time::Duration;

use tokio::time::Instant;

/// A burst is over after this long without an event: a deployment changes one thing after the other.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// A burst that does not end is acted upon after this long, so that nothing that changes all the time
/// keeps from proxies what else changed.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// When to act on events of which the first and the last came at these times.
pub(super) fn due(first: Instant, last: Instant) -> Instant {
    (last + QUIET).min(first + LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_when_it_is_quiet_and_at_last_anyway() {
        let start = Instant::now();
        for (last_ms, expected_ms) in [
            (0, 100),
            (70, 170),
            (899, 999),
            (950, 1_000),
            (5_000, 1_000),
        ] {
            let last = start + Duration::from_millis(last_ms);

            let due = due(start, last) - start;

            assert_eq!(due, Duration::from_millis(expected_ms), "{last_ms}");
        }
    }
}
