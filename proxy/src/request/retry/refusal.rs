//! Why an attempt that the rule would have repeated was the last one.

use crate::body::replay::Lost;
use crate::table::retry::Cause;
use crate::telemetry::flags::Flags;
use crate::upstream::budget::{RetryLimit, Retrying};
use crate::upstream::destination::Destination;

/// Why there was no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There were as many as the rule allows.
    Exhausted,
    /// The destination has as many retries as `maxRetries` allows.
    MaxRetries,
    /// The destination has as many retries as its budget allows.
    Budget,
    /// The body cannot be sent again.
    Body(Lost),
    /// The upstream wants to be left alone for longer than can be waited.
    RetryAfter,
}

// === impl Refusal ===

impl Refusal {
    /// All of them; each stands at its own number.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Exhausted,
        Self::MaxRetries,
        Self::Budget,
        Self::RetryAfter,
        Self::Body(Lost::TooLarge),
        Self::Body(Lost::NoRoom),
        Self::Body(Lost::Sent),
        Self::Body(Lost::Failed),
    ];

    /// Name in metrics and log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "attempts",
            Self::MaxRetries => "max-retries",
            Self::Budget => "budget",
            Self::RetryAfter => "retry-after",
            Self::Body(Lost::TooLarge) => "body-too-large",
            Self::Body(Lost::NoRoom) => "body-memory",
            Self::Body(Lost::Sent) => "body-sent",
            Self::Body(Lost::Failed) => "body-broken",
        }
    }

    /// The flag that tells it, where Envoy has one.
    pub(crate) fn flags(self) -> Flags {
        match self {
            Self::Exhausted => Flags::URX,
            Self::MaxRetries | Self::Budget => Flags::UO,
            Self::Body(_) | Self::RetryAfter => Flags::NONE,
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Has a retry for `cause` counted as under way, in `under_way`, unless a limit is reached. The
    /// retries of one request count once, until it has an answer.
    pub(crate) fn admit_retry(
        &self,
        cause: Cause,
        under_way: &mut Option<Retrying>,
    ) -> Result<(), Refusal> {
        let limit = &self.policy.retries;
        if under_way.is_some() || !limit.counts(cause) {
            return Ok(());
        }
        let refusal = match limit {
            RetryLimit::Count(_) => Refusal::MaxRetries,
            RetryLimit::Standard | RetryLimit::Share(_) => Refusal::Budget,
        };
        let begun = self.live.retries.begin(self.retries_allowed());
        *under_way = Some(begun.ok_or(refusal)?);
        Ok(())
    }
}
