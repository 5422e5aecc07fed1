//! When keys are fetched again. No IO; time and chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two fetches while they go well; Istio has the same.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// Wait after the first failure; doubles with each that follows.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait while fetches fail.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Part of a wait that chance decides, so that not all proxies ask at the same time.
const JITTER: f64 = 0.1;
/// Time between two fetches that tokens ask for: anybody can make tokens that name unknown keys.
const ASKED_INTERVAL: Duration = Duration::from_secs(30);
/// Fetches that tokens can ask for at once after a quiet time.
const ASKED_BURST: u32 = 4;

/// When one issuer is asked.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the next fetch is due by itself.
    due: Instant,
    /// When all fetches that tokens asked for will be paid for.
    paid: Instant,
}

// === impl Schedule ===

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            paid: now,
        }
    }

    /// When the next fetch is due by itself.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// A fetch went well; `chance` is from 0 to 1.
    pub(super) fn succeeded(&mut self, now: Instant, chance: f64) {
        self.due = now + shortened(REFRESH, chance);
    }

    /// As many fetches in a row failed.
    pub(super) fn failed(&mut self, failures: u32, now: Instant, chance: f64) {
        let doublings = failures.saturating_sub(1).min(6);
        let wait = (RETRY_MIN * 2_u32.pow(doublings)).min(RETRY_MAX);
        self.due = now + shortened(wait, chance);
    }

    /// A token names a key that is not known: when the fetch that this asks for may begin.
    pub(super) fn asked(&mut self, now: Instant) -> Instant {
        self.paid = self.paid.max(now) + ASKED_INTERVAL;
        // Not before the clock began.
        let at = self.paid.checked_sub(ASKED_INTERVAL * ASKED_BURST);
        at.unwrap_or(now).max(now).min(self.due.max(now))
    }
}

fn shortened(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_keys_are_fetched_again_before_they_are_old_and_not_by_all_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert_eq!(schedule.due(), now);

        schedule.succeeded(now, 0.0);
        assert_eq!(schedule.due() - now, Duration::from_secs(1_200));
        schedule.succeeded(now, 1.0);
        assert_eq!(schedule.due() - now, Duration::from_secs(1_080));
    }

    #[test]
    fn failures_are_tried_again_soon_and_then_less_often() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);

        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            schedule.failed(failures, now, 0.0);
            assert_eq!(schedule.due() - now, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn tokens_with_unknown_keys_cause_a_few_fetches_at_once_and_then_one_each_half_minute() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.succeeded(start, 0.0);
        let mut now = start;
        let mut fetches = 0;

        while now < start + Duration::from_secs(300) {
            let at = schedule.asked(now);
            fetches += 1;
            now = at + Duration::from_millis(1);
        }

        assert!((13..=15).contains(&fetches), "{fetches}");
    }

    #[test]
    fn what_tokens_ask_for_never_delays_what_is_due() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.failed(1, now, 0.0);

        for _ in 0..100 {
            let at = schedule.asked(now);
            assert!(at <= schedule.due());
        }
    }
}
