//! Which faults a request meets: the compiled form of a rule's `fault` and of the annotations
//! beside it.
//!
//! Each fault is drawn by itself. They meet a request in the order in which an upstream would show
//! them: late, then with an error or not at all, then slowly.

use std::num::NonZeroU64;
use std::time::Duration;

use config::fault::{AnnotatedFaults, FaultScope, grpc_status};
use config::resource::virtual_service::{FaultAbort, FaultDelay, HttpRoute};
use config::value::Percent;
use http::StatusCode;

use crate::table::share::Share;

/// Pieces of a slow body per second, as far as it has so many bytes.
const PIECES_PER_SECOND: u64 = 10;

/// The faults of one rule; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether they meet a request or each of its attempts.
    pub scope: FaultScope,
    /// Waits before anything else.
    pub delay: Option<Delay>,
    /// Answers with an error.
    pub abort: Option<Abort>,
    /// Resets instead of an answer.
    pub reset: Option<Share>,
    /// Answers whose body comes slowly.
    pub slow_body: Option<SlowBody>,
}

/// Requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// How many.
    pub share: Share,
    /// How long.
    pub time: Duration,
}

/// Requests that are answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// How many.
    pub share: Share,
    /// With what.
    pub status: AbortStatus,
}

/// The status of an injected error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortStatus {
    /// For callers that do not speak gRPC.
    pub http: StatusCode,
    /// For those that do, if it is not that of the HTTP status.
    pub grpc: Option<u16>,
}

/// Answers whose body comes slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowBody {
    /// How many.
    pub share: Share,
    /// How slowly.
    pub pace: Pace,
}

/// How fast a body passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    bytes_per_second: NonZeroU64,
}

/// What one request or attempt meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drawn {
    /// Waits first.
    pub delay: Option<Duration>,
    /// Does not come to the upstream.
    pub end: Option<End>,
    /// The answer's body comes slowly.
    pub pace: Option<Pace>,
}

/// How a request ends before the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an error.
    Abort(AbortStatus),
    /// With a reset of the connection, or of its stream.
    Reset,
}

// === impl Fault ===

impl Fault {
    /// The faults of `rule` with what `annotated` adds; none if none of them ever happens.
    pub fn compile(rule: &HttpRoute, annotated: &AnnotatedFaults) -> Option<Self> {
        let name = rule.name.as_deref();
        let written = rule.fault.as_ref();
        let reset = annotated.reset.as_ref();
        let slow_body = annotated.slow_body.as_ref();
        let fault = Self {
            scope: annotated.scope,
            delay: written.and_then(|it| Delay::compile(it.delay.as_ref()?)),
            abort: written.and_then(|it| Abort::compile(it.abort.as_ref()?)),
            reset: reset
                .filter(|it| it.rules.cover(name))
                .and_then(|it| Share::of(it.percent)),
            slow_body: slow_body.filter(|it| it.rules.cover(name)).and_then(|it| {
                Some(SlowBody {
                    share: Share::of(it.percent)?,
                    pace: Pace::new(it.bytes_per_second),
                })
            }),
        };
        let none = fault.delay.is_none()
            && fault.abort.is_none()
            && fault.reset.is_none()
            && fault.slow_body.is_none();
        (!none).then_some(fault)
    }

    /// What one request or attempt meets, by one number for each fault. A reset goes before an
    /// error: who resets does not answer.
    pub fn draw(&self, mut random: impl FnMut() -> u64) -> Drawn {
        let mut hit = |share: Share| share.hits(random());
        let delay = self.delay.filter(|delay| hit(delay.share));
        let abort = self.abort.filter(|abort| hit(abort.share));
        let reset = self.reset.filter(|share| hit(*share));
        let slow_body = self.slow_body.filter(|slow| hit(slow.share));
        Drawn {
            delay: delay.map(|delay| delay.time),
            end: reset
                .map(|_| End::Reset)
                .or(abort.map(|abort| End::Abort(abort.status))),
            pace: slow_body.map(|slow| slow.pace),
        }
    }
}

// === impl Delay ===

impl Delay {
    fn compile(written: &FaultDelay) -> Option<Self> {
        Some(Self {
            share: share(written.percentage, written.percent)?,
            time: written.fixed_delay?.get(),
        })
    }
}

// === impl Abort ===

impl Abort {
    fn compile(written: &FaultAbort) -> Option<Self> {
        let grpc = written.grpc_status.as_deref().and_then(grpc_status);
        let http = match written.http_status {
            Some(status) => StatusCode::from_u16(u16::try_from(status).ok()?).ok()?,
            // To a caller that does not know gRPC's statuses the call itself went well.
            None => grpc.map(|_| StatusCode::OK)?,
        };
        Some(Self {
            share: share(written.percentage, written.percent)?,
            status: AbortStatus { http, grpc },
        })
    }
}

/// The share that is written; the old whole number counts where there is no other. Without either a
/// fault meets nobody.
fn share(percentage: Option<Percent>, percent: Option<i32>) -> Option<Share> {
    let old = percent.map(|percent| Percent {
        value: f64::from(percent),
    });
    Share::of(percentage.or(old)?)
}

// === impl Pace ===

impl Pace {
    /// So many bytes in a second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second }
    }

    /// Bytes in a second.
    pub fn bytes_per_second(self) -> u64 {
        self.bytes_per_second.get()
    }

    /// Bytes of the next piece of a body of which `waiting` bytes wait.
    pub(crate) fn piece(self, waiting: usize) -> usize {
        let piece = (self.bytes_per_second.get() / PIECES_PER_SECOND).max(1);
        waiting.min(usize::try_from(piece).unwrap_or(usize::MAX))
    }

    /// The time that `bytes` take.
    pub(crate) fn time(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
