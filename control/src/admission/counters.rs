//! How reviews went, for Prometheus.

use prometheus::{IntCounterVec, Opts, Registry};

use super::Webhook;
use super::review::Verdict;

/// Counters of reviews.
#[derive(Debug, Clone)]
pub struct Counters {
    reviews: IntCounterVec,
}

// === impl Counters ===

impl Counters {
    /// Counters that are among the metrics of `registry`.
    ///
    /// # Errors
    ///
    /// If it has metrics of the same name.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "meshcontrol_admission_reviews_total",
            "Reviews of the API server: allowed, changed (injected), refused, or unread (no review, or too large).",
        );
        let reviews = IntCounterVec::new(options, &["webhook", "result"])?;
        registry.register(Box::new(reviews.clone()))?;
        Ok(Self { reviews })
    }

    pub(super) fn judged(&self, webhook: Webhook, verdict: &Verdict) {
        let result = match verdict {
            Verdict::Allowed { .. } => "allowed",
            Verdict::Changed { .. } => "changed",
            Verdict::Refused { .. } => "refused",
        };
        self.count(webhook, result);
    }

    pub(super) fn unread(&self, webhook: Webhook) {
        self.count(webhook, "unread");
    }

    fn count(&self, webhook: Webhook, result: &str) {
        self.reviews
            .with_label_values(&[webhook.name(), result])
            .inc();
    }
}
