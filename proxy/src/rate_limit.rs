//! The live side of rate limits: what was used, shared by all workers and outliving reloads.
//!
//! - `gcra`: the arithmetic of one bucket, pure.
//! - `buckets`: one bucket for all requests, or one for each key within bounded memory.
//! - `shared`: asking a rate-limit service; `message` is its protocol.

pub mod buckets;
pub mod gcra;
pub mod message;
pub mod shared;

use std::time::{Duration, Instant};

/// Time in nanoseconds since a proxy began to limit, which is what buckets reckon with.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

// === impl Epoch ===

impl Epoch {
    /// Time that begins now.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// The time that has passed; enough for 584 years.
    pub fn nanos(self) -> u64 {
        nanos(self.0.elapsed())
    }
}

/// A span in nanoseconds, the longest that fits if it is longer.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
