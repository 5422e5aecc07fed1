//! Counters of copied requests: how each ended.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

/// How a copied request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirrored {
    /// The mirror answered, whatever it said.
    Answered,
    /// There was no connection.
    NotConnected,
    /// The mirror broke off, or the protocol.
    Broken,
    /// The mirror took longer than it may.
    TimedOut,
    /// The mirror's host, port or subset does not exist.
    NoDestination,
    /// The mirror has no endpoint that takes requests.
    NoEndpoint,
    /// A limit of the mirror's destination was reached.
    Overflow,
    /// As many copies of the worker were under way as may be.
    TooMany,
    /// The mirror took the body more slowly than its window allows.
    Window,
    /// As much waited for mirrors of the worker as may.
    Memory,
    /// The request itself broke off.
    Incomplete,
}

/// Counters of copied requests, each resolved at the start.
#[derive(Debug, Clone)]
pub struct MirrorCounters {
    /// In the order of `Mirrored::ALL`.
    ended: Box<[IntCounter]>,
    /// Copies that are under way.
    pub(crate) active: IntGauge,
}

// === impl Mirrored ===

impl Mirrored {
    const ALL: [Self; 11] = [
        Self::Answered,
        Self::NotConnected,
        Self::Broken,
        Self::TimedOut,
        Self::NoDestination,
        Self::NoEndpoint,
        Self::Overflow,
        Self::TooMany,
        Self::Window,
        Self::Memory,
        Self::Incomplete,
    ];

    /// Value of the label `result`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotConnected => "not-connected",
            Self::Broken => "broken",
            Self::TimedOut => "timed-out",
            Self::NoDestination => "no-destination",
            Self::NoEndpoint => "no-endpoint",
            Self::Overflow => "overflow",
            Self::TooMany => "too-many",
            Self::Window => "window",
            Self::Memory => "memory",
            Self::Incomplete => "incomplete",
        }
    }
}

// === impl MirrorCounters ===

impl MirrorCounters {
    pub(super) fn new(by_result: &IntCounterVec, active: IntGauge) -> Result<Self> {
        let of = |result: &Mirrored| by_result.get_metric_with_label_values(&[result.as_str()]);
        Ok(Self {
            ended: Mirrored::ALL.iter().map(of).collect::<Result<_>>()?,
            active,
        })
    }

    /// Counts a copy that has ended, or was not made.
    pub(crate) fn count(&self, mirrored: Mirrored) {
        self.ended[mirrored as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_place() {
        for (place, mirrored) in Mirrored::ALL.into_iter().enumerate() {
            assert_eq!(mirrored as usize, place, "{mirrored:?}");
        }
    }
}
