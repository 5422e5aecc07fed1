//! What rate-limit services are asked, and what their answers mean.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{self, HeaderName};

use super::Refused;
use super::counting::Counting;
use crate::rate_limit::message::{Descriptor, Verdict};
use crate::rate_limit::shared::Service;
use crate::request::Rejection;
use crate::request::headers::is_hop_by_hop;
use crate::table::rate_limit::facts::Facts;
use crate::table::rate_limit::{Limit, Tally};

/// What one service is asked.
pub(super) struct Question<'l> {
    pub(super) service: &'l Arc<Service>,
    /// The limits, in the order of their descriptors.
    pub(super) limits: Vec<&'l Arc<Limit>>,
    pub(super) descriptors: Vec<Descriptor>,
}

/// What each service has to be asked, all of its limits at once.
pub(super) fn questions<'l>(counting: &[Counting<'l>], facts: &Facts<'_>) -> Vec<Question<'l>> {
    let mut questions: Vec<Question<'l>> = Vec::new();
    for counting in counting {
        let Tally::Shared { service, unit } = &counting.quota.tally else {
            continue;
        };
        let descriptor = counting.descriptor(*unit, facts);
        let known = questions
            .iter_mut()
            .find(|question| Arc::ptr_eq(question.service, service));
        match known {
            Some(question) => {
                question.limits.push(counting.limit);
                question.descriptors.push(descriptor);
            }
            None => questions.push(Question {
                service,
                limits: vec![counting.limit],
                descriptors: vec![descriptor],
            }),
        }
    }
    questions
}

// === impl Question ===

impl Question<'_> {
    /// The refusal by the limit that the service names, else by the first.
    pub(super) fn refused(&self, verdict: Verdict) -> Rejection {
        let (place, wait) = verdict.over.unwrap_or_default();
        let limit = self.limits.get(place).or(self.limits.first());
        let Some(limit) = limit else {
            return Rejection::LimitUndecided(Arc::clone(&self.service.policy));
        };
        limit.counters.limited.inc();
        let headers = verdict.headers.into_iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok().filter(may_add)?;
            Some((name, HeaderValue::try_from(value).ok()?))
        });
        Rejection::RateLimited(Box::new(Refused {
            limit: Arc::clone(&limit.id),
            wait,
            headers: headers.collect(),
        }))
    }
}

/// Whether a service may add a header: none that frames the answer or says what it is, and none in
/// which this proxy speaks.
fn may_add(name: &HeaderName) -> bool {
    let describes = [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
    ];
    let reserved = ["grpc-", "x-meshproxy-"];
    !is_hop_by_hop(name)
        && !describes.contains(name)
        && !reserved.iter().any(|it| name.as_str().starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_adds_headers_but_none_that_frames_types_or_explains_the_answer() {
        for (name, may) in [
            ("x-ratelimit-remaining", true),
            ("retry-after", true),
            ("content-length", false),
            ("transfer-encoding", false),
            ("connection", false),
            ("content-type", false),
            ("grpc-status", false),
            ("x-meshproxy-error", false),
            ("x-meshproxy-explain", false),
        ] {
            assert_eq!(may_add(&HeaderName::from_static(name)), may, "{name}");
        }
    }
}
