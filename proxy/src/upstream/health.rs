//! Whether an endpoint takes requests, as far as this proxy can tell.

mod keeper;

use std::sync::atomic::{AtomicU8, Ordering};

pub use keeper::Keeper;

/// Why an endpoint takes no requests; none while it takes them. Workers share it.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

/// One of the reasons for which an endpoint takes no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Its answers made outlier detection take it out for a time.
    Ejected,
    /// It does not pass the health checks that are made of it.
    FailsChecks,
}

// === impl Health ===

impl Health {
    /// Whether nothing speaks against requests.
    pub fn is_available(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether this is among the reasons.
    pub fn has(&self, ailment: Ailment) -> bool {
        self.0.load(Ordering::Relaxed) & ailment.bit() != 0
    }

    /// Notes a reason; says whether it is new. Whoever does so tells the destination's
    /// [`Live`](super::destination::Live) that something changed.
    pub(crate) fn set(&self, ailment: Ailment) -> bool {
        self.0.fetch_or(ailment.bit(), Ordering::Relaxed) & ailment.bit() == 0
    }

    /// Takes a reason away; says whether it was there.
    pub(crate) fn clear(&self, ailment: Ailment) -> bool {
        self.0.fetch_and(!ailment.bit(), Ordering::Relaxed) & ailment.bit() != 0
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
