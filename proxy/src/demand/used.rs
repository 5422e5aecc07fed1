//! Whether something was used since somebody looked.

use std::sync::atomic::{AtomicBool, Ordering};

/// A mark that requests leave and that a sweep takes away, much later.
#[derive(Debug, Default)]
pub struct Used(AtomicBool);

// === impl Used ===

impl Used {
    /// Leaves the mark. Whoever finds it there writes nothing, so that workers do not fight for the line.
    pub(crate) fn note(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the mark is there.
    pub(crate) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes the mark away.
    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
