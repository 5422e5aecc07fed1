//! Asking a rate-limit service: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! The service is a destination like any other, so that it is resolved, balanced and pooled. Each
//! question has a deadline, and what becomes of a request without an answer is declared.

mod standing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::time::{Instant, timeout};

use super::message::{self, Descriptor, Verdict};
use crate::upstream::Upstream;
use crate::upstream::destination::Destinations;
use crate::upstream::question::{Call, Place};
use standing::Change;
pub(crate) use standing::Standing;

const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an answer is awaited where nothing is said.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(20);
/// The domain where none is named.
pub const DOMAIN_DEFAULT: &str = "meshproxy";

/// A service that counts for all proxies.
#[derive(Debug)]
pub struct Service {
    /// `namespace/name` of the policy.
    pub policy: Arc<str>,
    /// Where it is.
    pub place: Place,
    /// Name of the set of limits that are asked for.
    pub domain: Box<str>,
    /// Limit of the wait for an answer.
    pub timeout: Duration,
    /// Whether requests are refused while it does not answer.
    pub denies: bool,
    /// How its answers went.
    pub(crate) results: Results,
    /// Whether it answers.
    pub(crate) standing: Standing,
}

/// Questions by how they went.
#[derive(Debug, Clone)]
pub struct Results {
    /// The request may pass.
    pub(crate) ok: IntCounter,
    /// It may not.
    pub(crate) over: IntCounter,
    /// There was no answer in time.
    pub(crate) failed: IntCounter,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("the rate-limit service does not answer")]
pub(crate) struct NoAnswer;

// === impl Service ===

impl Service {
    /// Asks whether a request may pass that counts for all `descriptors`.
    ///
    /// # Errors
    ///
    /// If there is no answer in time, or none that decides. One that had none several times in a row
    /// is not asked for a while.
    pub(crate) async fn ask(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        descriptors: &[Descriptor],
    ) -> Result<Verdict, NoAnswer> {
        let verdict = match self.standing.is_asked(Instant::now()) {
            true => {
                let question = message::encode(&self.domain, descriptors);
                let asking = self.exchange(upstream, destinations, question);
                let verdict = timeout(self.timeout, asking).await.ok().flatten();
                self.note(verdict.is_some());
                verdict
            }
            false => None,
        };
        let counter = match &verdict {
            None => &self.results.failed,
            Some(verdict) if verdict.is_over => &self.results.over,
            Some(_) => &self.results.ok,
        };
        counter.inc();
        verdict.ok_or(NoAnswer)
    }

    fn note(&self, answered: bool) {
        let policy = &*self.policy;
        match self.standing.note(answered, Instant::now()) {
            Change::None => {}
            Change::Fails => {
                let requests = if self.denies { "refused" } else { "let pass" };
                tracing::warn!(policy, requests, "rate-limit service does not answer");
            }
            Change::Answers => tracing::info!(policy, "rate-limit service answers again"),
        }
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        destinations: &Destinations,
        question: Bytes,
    ) -> Option<Verdict> {
        let call = Call {
            path: PATH,
            timeout: self.timeout,
            question: &question,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let frame = self.place.call(upstream, destinations, call).await?;
        message::decode(&frame).ok()
    }
}
