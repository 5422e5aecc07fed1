//! When a burst of events is over.

use std::time::Duration;

use tokio::time::Instant;

/// A burst is over after this long without an event: editors and `kubectl` write in several steps.
pub(super) const QUIET: Duration = Duration::from_millis(50);

/// A burst that does not end is acted upon after this long, so that an edit is live within a second
/// whatever else happens.
pub(super) const LONGEST: Duration = Duration::from_millis(500);

/// Events since the last action.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    last: Instant,
}

// === impl Debounce ===

impl Debounce {
    /// Notes an event.
    pub(super) fn event(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, last: now });
    }

    /// When to act, if there were events.
    pub(super) fn due(&self) -> Option<Instant> {
        let Burst { first, last } = self.burst?;
        Some((last + QUIET).min(first + LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_after(events_ms: &[u64]) -> Option<Duration> {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        for ms in events_ms {
            debounce.event(start + Duration::from_millis(*ms));
        }
        debounce.due().map(|due| due - start)
    }

    #[test]
    fn nothing_is_due_without_an_event() {
        assert_eq!(due_after(&[]), None);
    }

    #[test]
    fn a_burst_is_over_when_it_is_quiet() {
        assert_eq!(due_after(&[0]), Some(Duration::from_millis(50)));
        assert_eq!(due_after(&[0, 30, 70]), Some(Duration::from_millis(120)));
    }

    #[test]
    fn a_burst_without_end_is_cut_off() {
        let events: Vec<u64> = (0..100).map(|at| at * 10).collect();

        assert_eq!(due_after(&events), Some(Duration::from_millis(500)));
    }
}
