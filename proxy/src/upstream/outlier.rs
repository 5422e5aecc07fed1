//! Outlier detection: an endpoint that fails several times in a row gets no requests for a time.
//!
//! Streaks are counted where the head of an answer or a failure is known, by all workers together
//! and without a lock. What is rare (an ejection and its end) happens under one lock per destination,
//! which makes the limit of ejected endpoints exact. The control thread ends ejections and compares
//! success rates; see `sweep`.
//!
//! A body that breaks off does not count: its head was a good answer, which ended every streak.

mod codes;
pub(crate) mod ejections;
pub(crate) mod ledger;
mod streaks;
mod success_rate;
pub(crate) mod sweep;

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::health::Ailment;
use crate::upstream::{Answer, UpstreamError};
pub(crate) use codes::code_of;
pub(crate) use ejections::Ejections;
pub(crate) use streaks::Streaks;

/// Longest ejection, unless the first one of an endpoint is longer already.
pub const EJECTION_MAX: Duration = Duration::from_secs(300);

/// When an endpoint is ejected, and for how long: the compiled form of `outlierDetection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// Errors in a row; 0 for never.
    pub errors: u32,
    /// Of these, answers 502, 503 and 504 in a row; 0 for never.
    pub gateway_errors: u32,
    /// What has no answer.
    pub local_failures: LocalFailures,
    /// Statuses that are errors.
    pub codes: ErrorCodes,
    /// An ejection is forgotten after this time in use; also the time over which success rates are
    /// taken.
    pub interval: Duration,
    /// Time of the first ejection.
    pub base: Duration,
    /// Most ejected endpoints, in percent of all.
    pub ejected_percent_max: u32,
    /// Comparison with the other endpoints, if it is asked for.
    pub success_rate: Option<Comparison>,
}

/// How failures without an answer count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFailures {
    /// As errors of the gateway.
    AsErrors,
    /// On their own, so many in a row; 0 for never.
    Apart(u32),
}

/// Statuses that are errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCodes {
    /// 500 to 599.
    ServerErrors,
    /// These, sorted.
    Listed(Box<[u16]>),
}

/// When a success rate is too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Standard deviations below the mean, in thousandths.
    pub stdev_thousandths: u32,
    /// Least endpoints with enough requests.
    pub hosts_min: u32,
    /// How many requests in an interval are enough.
    pub requests_min: u32,
}

/// What an attempt says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// There was an answer with this status.
    Answered(u16),
    /// There was none, and the endpoint or the way to it is to blame.
    Failed,
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Errors in a row.
    Errors,
    /// 502, 503 and 504 in a row.
    GatewayErrors,
    /// Failures without an answer in a row.
    LocalFailures,
    /// It failed more often than the others.
    SuccessRate,
}

// === impl Detection ===

impl Detection {
    /// Time of an ejection that is the `times`th in a row.
    pub fn ejection(&self, times: u32) -> Duration {
        let longest = self.base.max(EJECTION_MAX);
        self.base.saturating_mul(times).min(longest)
    }

    /// Whether one more of `total` endpoints may be ejected when `ejected` are.
    pub fn has_room(&self, ejected: usize, total: usize) -> bool {
        (ejected + 1).saturating_mul(100) <= total.saturating_mul(self.ejected_percent_max as usize)
    }
}

// === impl ErrorCodes ===

impl ErrorCodes {
    /// Whether this status is an error.
    pub fn has(&self, code: u16) -> bool {
        match self {
            Self::ServerErrors => (500..600).contains(&code),
            Self::Listed(codes) => codes.binary_search(&code).is_ok(),
        }
    }
}

// === impl Cause ===

impl Cause {
    /// All of them; each stands at its own number.
    pub const ALL: [Self; 4] = [
        Self::Errors,
        Self::GatewayErrors,
        Self::LocalFailures,
        Self::SuccessRate,
    ];

    /// Its name in metrics, log and `/destinations`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "consecutive_5xx",
            Self::GatewayErrors => "consecutive_gateway",
            Self::LocalFailures => "consecutive_local_origin",
            Self::SuccessRate => "success_rate",
        }
    }
}

// === impl Event ===

impl Event {
    /// What an attempt says, if it says anything: what we refused ourselves does not.
    pub(crate) fn of(result: &Result<Box<Answer>, UpstreamError>, grpc: bool) -> Option<Self> {
        match result {
            Ok(answer) => {
                let (status, headers) = (answer.response.status(), answer.response.headers());
                Some(Self::answered(status, headers, grpc))
            }
            Err(error) => error.blames_endpoint().then_some(Self::Failed),
        }
    }

    fn answered(status: StatusCode, headers: &HeaderMap, grpc: bool) -> Self {
        let code = match grpc {
            true => code_of(status, headers),
            false => status.as_u16(),
        };
        Self::Answered(code)
    }
}

/// Counts what an attempt says of `member`, and ejects it if that was one failure too many.
pub(crate) fn observe(
    rules: &Detection,
    destination: &Destination,
    member: &Member,
    event: Event,
    now: Instant,
) {
    let endpoint = &member.endpoint;
    // What was under way when it was ejected must not prolong that.
    if endpoint.health.has(Ailment::Ejected) {
        return;
    }
    if let Some(cause) = endpoint.streaks.note(rules, event) {
        let ejections = &destination.live.ejections;
        ejections.eject(rules, destination, endpoint, cause, now);
    }
}

#[cfg(test)]
mod tests;
