//! Whether an endpoint takes requests, as far as this proxy can tell.

mod check;
mod grpc;
mod keeper;
mod probe;
mod schedule;
mod verdict;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

pub use check::Check;
pub use keeper::Keeper;
pub(crate) use probe::{Asked, Failure, ask_grpc, driven};

/// Why an endpoint takes no requests; none while it takes them. Workers share it.
#[derive(Debug, Default)]
pub struct Health {
    ailments: AtomicU8,
    /// What checks say of it; for `/destinations` and the next generation, never for requests.
    checked: Mutex<Option<Checked>>,
}

/// One of the reasons for which an endpoint takes no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Its answers made outlier detection take it out for a time.
    Ejected,
    /// It does not pass the health checks that are made of it.
    FailsChecks,
}

/// What the checks of an endpoint say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether they are passed.
    pub passing: bool,
    /// Since when.
    pub since: Instant,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

// === impl Health ===

impl Health {
    /// Whether nothing speaks against requests.
    pub fn is_available(&self) -> bool {
        self.ailments.load(Ordering::Relaxed) == 0
    }

    /// Whether this is among the reasons.
    pub fn has(&self, ailment: Ailment) -> bool {
        self.ailments.load(Ordering::Relaxed) & ailment.bit() != 0
    }

    /// Notes a reason; says whether it is new. Whoever does so tells the destination's
    /// [`Live`](super::destination::Live) that something changed.
    pub(crate) fn set(&self, ailment: Ailment) -> bool {
        self.ailments.fetch_or(ailment.bit(), Ordering::Relaxed) & ailment.bit() == 0
    }

    /// Takes a reason away; says whether it was there.
    pub(crate) fn clear(&self, ailment: Ailment) -> bool {
        self.ailments.fetch_and(!ailment.bit(), Ordering::Relaxed) & ailment.bit() != 0
    }

    /// What checks say; nothing before the first one.
    pub fn checked(&self) -> Option<Checked> {
        let checked = self.checked.lock();
        checked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what checks say.
    fn note(&self, checked: Option<Checked>) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = checked;
    }
}

// === impl Ailment ===

impl Ailment {
    fn bit(self) -> u8 {
        match self {
            Self::Ejected => 1,
            Self::FailsChecks => 2,
        }
    }
}
