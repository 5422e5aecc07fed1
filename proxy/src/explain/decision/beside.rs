//! What a request meets beside the action of its rule: faults, rate limits and mirrors.

use serde::Serialize;

use super::Failure;

/// Faults that a rule injects, in the order in which they are met; each is drawn by itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Faults {
    pub(crate) scope: Scope,
    pub(crate) delay: Option<Delay>,
    pub(crate) abort: Option<Abort>,
    /// Goes before an abort that is drawn, too.
    pub(crate) reset: Option<Reset>,
    pub(crate) slow_body: Option<SlowBody>,
    /// How each of them ends, where that is not drawn.
    pub(crate) always: Option<Always>,
}

/// What faults meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Scope {
    /// The request, before limits and the action of the rule.
    Request,
    /// Each attempt of a request that is sent on.
    Attempt,
}

/// A wait.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delay {
    pub(crate) percent: f64,
    pub(crate) time: String,
}

/// An error.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Abort {
    pub(crate) percent: f64,
    /// HTTP status.
    pub(crate) status: u16,
    /// Status for callers that speak gRPC, if one is written.
    pub(crate) grpc_status: Option<u16>,
}

/// A reset instead of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reset {
    pub(crate) percent: f64,
}

/// An answer whose body comes slowly.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SlowBody {
    pub(crate) percent: f64,
    pub(crate) bytes_per_second: u64,
}

/// How faults end all that they meet.
#[derive(Debug, Serialize)]
#[serde(tag = "end", rename_all = "camelCase")]
pub(crate) enum Always {
    /// With this answer.
    Abort(Failure),
    /// With no answer.
    Reset,
}

// === impl Faults ===

impl Faults {
    /// How every request ends that meets them, if none comes through.
    pub(crate) fn of_every_request(&self) -> Option<&Always> {
        match self.scope {
            Scope::Request => self.always.as_ref(),
            Scope::Attempt => None,
        }
    }
}

/// A limit that counts the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RateLimit {
    /// `namespace/name` of the policy.
    pub(crate) policy: String,
    pub(crate) limit: String,
    /// Requests in `per`.
    pub(crate) requests: u32,
    pub(crate) per: String,
    pub(crate) burst: u32,
    pub(crate) counted_by: CountedBy,
    /// What is counted apart, and what this request has of it.
    pub(crate) key: Vec<Value>,
    /// What the request must have, and has, for these numbers; none for those of the limit itself.
    #[serde(rename = "override")]
    pub(crate) overridden: Option<Vec<Value>>,
}

/// Who counts the requests of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CountedBy {
    /// Each proxy by itself.
    Proxy,
    /// A rate-limit service.
    Service,
}

/// A dimension of a request and its value.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Who gets copies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mirror {
    /// Host, complete.
    pub(crate) host: String,
    pub(crate) subset: Option<String>,
    pub(crate) percent: f64,
    /// As in access log and `/destinations`; none if there is no such host, port or subset, so that
    /// no copy is sent.
    pub(crate) destination: Option<String>,
}
