//! Memory above the high-water mark: new work is refused before the system ends the process, and with
//! it the work under way.
//!
//! The control thread reads how much memory is in use a few times a second and publishes one bit, which
//! costs a request a load. There is no lock, and without a mark there is only the absence of it.

mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub use memory::{HighWater, Memory};

/// Time between two looks at how much memory is in use.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Share of the mark, in percent, below which new work is taken again: what is given back in between
/// must not be taken up again at once.
const CALM_PERCENT: u64 = 95;

/// Whether new work is refused.
#[derive(Debug, Default)]
pub struct Pressure(AtomicBool);

// === impl Pressure ===

impl Pressure {
    /// No pressure yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether new work is refused.
    pub fn is_high(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Takes in that `used` bytes are in use; says if that changes something.
    pub fn note(&self, used: u64, mark: u64) -> bool {
        let before = self.is_high();
        let now = is_high(before, used, mark);
        self.0.store(now, Relaxed);
        now != before
    }
}

/// Whether new work is refused with `used` bytes in use, by whether it was before.
fn is_high(before: bool, used: u64, mark: u64) -> bool {
    match before {
        true => used >= mark / 100 * CALM_PERCENT,
        false => used >= mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_again_once_there_is_some_room() {
        let pressure = Pressure::new();

        assert!(!pressure.note(999, 1_000) && !pressure.is_high());
        assert!(pressure.note(1_000, 1_000) && pressure.is_high());
        assert!(!pressure.note(950, 1_000) && pressure.is_high());
        assert!(pressure.note(949, 1_000) && !pressure.is_high());
        assert!(!pressure.note(999, 1_000) && !pressure.is_high());
    }
}
