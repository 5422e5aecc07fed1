//! Whether a service answers: told once when that changes, and spared while it does not.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which a service is not asked for a while: each would cost its request the
/// whole timeout.
const FAILURES_MAX: u32 = 5;
/// How long it is not asked then.
const RESPITE: Duration = Duration::from_secs(1);

/// How a service did lately; workers share it.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Failures in a row.
    failures: AtomicU32,
    made: Instant,
    /// Until when it is not asked, in milliseconds since `made`.
    spared_until: AtomicU64,
}

/// What a question changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was answered, as those before, or was not, as those before.
    None,
    /// The first one without an answer.
    Fails,
    /// The first one with an answer after some without.
    Answers,
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            failures: AtomicU32::default(),
            made: now,
            spared_until: AtomicU64::default(),
        }
    }

    /// Whether it is to be asked. Of several requests at the end of a respite more than one may try.
    pub(super) fn is_asked(&self, now: Instant) -> bool {
        self.millis(now) >= self.spared_until.load(Relaxed)
    }

    /// Whether it answers, as far as is known.
    pub(crate) fn answers(&self) -> bool {
        self.failures.load(Relaxed) == 0
    }

    /// Notes how a question went.
    pub(super) fn note(&self, answered: bool, now: Instant) -> Change {
        if answered {
            return match self.failures.swap(0, Relaxed) {
                0 => Change::None,
                _ => Change::Answers,
            };
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures >= FAILURES_MAX {
            let until = self.millis(now + RESPITE);
            self.spared_until.store(until, Relaxed);
        }
        match failures {
            1 => Change::Fails,
            _ => Change::None,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.made).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_told_once() {
        let now = Instant::now();
        let standing = Standing::new(now);

        let changes = [true, false, false, true, true, false];
        let changes = changes.map(|answered| standing.note(answered, now));

        let none = Change::None;
        let expected = [
            none,
            Change::Fails,
            none,
            Change::Answers,
            none,
            Change::Fails,
        ];
        assert_eq!(changes, expected);
    }

    #[tokio::test]
    async fn who_fails_again_and_again_is_spared_for_a_while() {
        let start = Instant::now();
        let standing = Standing::new(start);
        for _ in 1..FAILURES_MAX {
            standing.note(false, start);
            assert!(standing.is_asked(start));
        }

        standing.note(false, start);

        assert!(!standing.is_asked(start));
        assert!(!standing.answers());
        assert!(!standing.is_asked(start + RESPITE - Duration::from_millis(1)));
        let later = start + RESPITE;
        assert!(standing.is_asked(later));
        standing.note(false, later);
        assert!(!standing.is_asked(later), "one more is enough");
        standing.note(true, later + RESPITE);
        assert!(standing.is_asked(later + RESPITE));
        assert!(standing.answers());
    }
}
