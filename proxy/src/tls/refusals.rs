//! Handshakes that failed: each is counted, and some are told in the log, since whoever causes them
//! must not be able to fill the disk.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lines in a [`SPAN`], of each worker.
const LINES_MAX: u32 = 10;
/// How long lines count.
const SPAN: Duration = Duration::from_secs(1);

/// What one worker told of late.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    begun: Cell<Option<Instant>>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

// === impl Refusals ===

impl Refusals {
    /// Whether one more may be told, and how many were left out since the last that was.
    pub(crate) fn tell(&self, now: Instant) -> Option<u64> {
        let begun = self.begun.get();
        if begun.is_none_or(|begun| now.saturating_duration_since(begun) >= SPAN) {
            self.begun.set(Some(now));
            self.lines.set(0);
        }
        if self.lines.get() == LINES_MAX {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_with_the_count_of_the_rest() {
        let refusals = Refusals::default();
        let start = Instant::now();

        let told = (0..100).filter(|_| refusals.tell(start).is_some()).count();

        assert_eq!(told, LINES_MAX as usize);
        assert_eq!(refusals.tell(start + SPAN), Some(100 - told as u64));
        assert_eq!(refusals.tell(start + SPAN), Some(0));
    }
}
