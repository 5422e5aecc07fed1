//! Lines of the log that a stranger can cause: at most one a second, which says how many were left
//! out.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Says when a line may be written.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    next: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

// === impl Throttle ===

impl Throttle {
    /// Whether a line may be written now, and how many were not since the last.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        if self.next.get().is_some_and(|next| now < next) {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        self.next.set(Some(now + INTERVAL));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_there_were_not() {
        let throttle = Throttle::default();
        let start = Instant::now();

        assert_eq!(throttle.admit(start), Some(0));
        for _ in 0..3 {
            assert_eq!(throttle.admit(start + INTERVAL / 2), None);
        }
        assert_eq!(throttle.admit(start + INTERVAL), Some(3));
        assert_eq!(throttle.admit(start + 2 * INTERVAL), Some(0));
    }
}
