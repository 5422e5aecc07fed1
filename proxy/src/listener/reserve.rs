//! A file descriptor that is kept for the time when there is no other.
//!
//! Without one, a connection that comes then can neither be taken nor refused: it stays in the queue,
//! which stays ready, and whoever waits for it spins. The reserve is given up for the moment in which
//! the connection is taken and closed.

use std::cell::RefCell;
use std::fs::File;

/// What is opened: it is everywhere, and holds nothing.
const HELD: &str = "/dev/null";

/// One worker's reserve.
#[derive(Debug)]
pub(crate) struct Reserve(RefCell<Option<File>>);

// === impl Reserve ===

impl Reserve {
    /// Gives the descriptor up for as long as `work` runs; none if there is none, as after another
    /// thread was faster to take it. What `work` opens must be closed when it returns.
    pub(crate) fn spend<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let held = self.0.take();
        let done = held.map(|held| {
            drop(held);
            work()
        });
        *self.0.borrow_mut() = File::open(HELD).ok();
        done
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self(RefCell::new(File::open(HELD).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_can_be_spent_again_and_again() {
        let reserve = Reserve::default();

        assert_eq!(reserve.spend(|| 1), Some(1));
        assert_eq!(reserve.spend(|| 2), Some(2));
    }

    #[test]
    fn a_reserve_that_was_lost_is_taken_when_there_is_one_again() {
        let reserve = Reserve(RefCell::new(None));

        assert_eq!(reserve.spend(|| 1), None);
        assert_eq!(reserve.spend(|| 2), Some(2));
    }
}
