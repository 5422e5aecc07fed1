//! How often a proxy may have it found out what it needs.

use std::time::Duration;

use tokio::time::Instant;

/// How often in a row.
const BURST: u32 = 200;
/// How often in the long run: every so often. A proxy asks once for each host that its workload begins
/// to talk to.
const EVERY: Duration = Duration::from_millis(20);
/// What a proxy leaves to others for each span that it takes.
const REST: u32 = 4;

/// Times that are left.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all of the burst is there again.
    full_at: Instant,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a turn; returns when it is, unless that is now.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Instant> {
        self.full_at = self.full_at.max(now) + EVERY;
        let turn = self.full_at.checked_sub(EVERY * BURST)?;
        (turn > now).then_some(turn)
    }

    /// Notes what a turn cost: whoever needs much of the machine waits for longer.
    pub(super) fn spend(&mut self, took: Duration) {
        self.full_at += took * REST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_costs_much_waits_for_longer() {
        let start = Instant::now() + EVERY * BURST;
        let mut pace = Pace::new(start);

        pace.spend(EVERY * BURST);

        let wait = EVERY * BURST * (REST - 1) + EVERY;
        assert_eq!(pace.turn(start), Some(start + wait));
    }

    #[test]
    fn a_burst_is_free_and_what_follows_has_its_pace() {
        let start = Instant::now() + EVERY * BURST;
        let mut pace = Pace::new(start);

        let free = (0..BURST).all(|_| pace.turn(start).is_none());

        assert!(free);
        assert_eq!(pace.turn(start), Some(start + EVERY));
        assert_eq!(pace.turn(start), Some(start + EVERY * 2));
        assert_eq!(pace.turn(start + EVERY * BURST), None);
    }
}
