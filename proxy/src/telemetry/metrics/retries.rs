//! Counters of retries: those that were made, and those that were not.
//!
//! In a storm of retries every request meets them, so each counter is resolved at the start.

use prometheus::{IntCounter, IntCounterVec, Result};

use crate::request::retry::Refusal;
use crate::table::retry::{Asked, Cause};

/// Values of the label `idempotent`, by number.
const IDEMPOTENT: [&str; 2] = ["false", "true"];

/// Counters of retries.
#[derive(Debug, Clone)]
pub struct RetryCounters {
    /// By cause, each for requests that are not idempotent and for those that are.
    made: Box<[[IntCounter; 2]]>,
    /// In the order of `Refusal::ALL`.
    refused: Box<[IntCounter]>,
    exhausted: IntCounter,
}

// === impl RetryCounters ===

impl RetryCounters {
    /// Resolves every counter. A refusal because the attempts are used up has a metric of its own.
    pub(super) fn new(
        made: &IntCounterVec,
        refused: &IntCounterVec,
        exhausted: IntCounter,
    ) -> Result<Self> {
        let of_cause = |cause: &Cause| -> Result<[IntCounter; 2]> {
            let [no, yes] = IDEMPOTENT
                .map(|idempotent| made.get_metric_with_label_values(&[cause.as_str(), idempotent]));
            Ok([no?, yes?])
        };
        let of_refusal = |refusal: &Refusal| match refusal {
            Refusal::Exhausted => Ok(exhausted.clone()),
            other => refused.get_metric_with_label_values(&[other.as_str()]),
        };
        Ok(Self {
            made: Cause::ALL.iter().map(of_cause).collect::<Result<_>>()?,
            refused: Refusal::ALL.iter().map(of_refusal).collect::<Result<_>>()?,
            exhausted: exhausted.clone(),
        })
    }

    /// Retries for this cause of requests of this kind.
    pub(crate) fn made(&self, cause: Cause, asked: Asked) -> &IntCounter {
        &self.made[cause as usize][usize::from(asked.idempotent)]
    }

    /// Retries that were not made for this reason.
    pub(crate) fn refused(&self, refusal: Refusal) -> &IntCounter {
        let number = Refusal::ALL.iter().position(|it| *it == refusal);
        number.map_or(&self.exhausted, |number| &self.refused[number])
    }
}
