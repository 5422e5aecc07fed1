//! What would become of a request, and why: plain facts that serialize under stable names and are
//! made without a request being sent.

pub(crate) mod authorization;
pub(crate) mod beside;
pub(crate) mod connection;
pub(crate) mod destination;

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, Response};
use serde::{Serialize, Serializer};

use crate::table::Direction;
use authorization::Authorization;
use beside::{Faults, Mirror, RateLimit};
use destination::Destination;

/// What would become of a request, and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    pub(crate) request: Request,
    pub(crate) caller: Caller,
    pub(crate) listener: Listener,
    /// Whether it is let in; none where everybody is.
    pub(crate) authorization: Option<Authorization>,
    /// None if the request did not come so far.
    pub(crate) host: Option<Host>,
    /// Rules that were tried, in order; the last may be the one that matches.
    pub(crate) rules: Vec<Tried>,
    /// Rules behind the one that matches.
    pub(crate) rules_not_tried: usize,
    /// What the rule injects. The outcome is that of a request which comes through.
    pub(crate) faults: Option<Faults>,
    /// Limits that count the request. What was used of them is not known, and nothing is taken.
    pub(crate) rate_limits: Vec<RateLimit>,
    pub(crate) outcome: Outcome,
}

/// The request as rules see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) grpc: bool,
}

/// Who asks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Caller {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) service_account: String,
    /// `region/zone/subzone`, as far as it is known.
    pub(crate) locality: Option<String>,
    /// Its address, where it is known.
    pub(crate) address: Option<String>,
}

/// Where it comes in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) direction: Direction,
}

/// Who serves the host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Host {
    /// What was asked for.
    pub(crate) authority: String,
    /// The host whose rules are tried; none if nobody serves it.
    pub(crate) served_by: Option<String>,
    /// The port that is addressed.
    pub(crate) port: Option<u16>,
    /// Why nobody serves it.
    pub(crate) problem: Option<String>,
}

/// A rule that was tried.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tried {
    #[serde(flatten)]
    pub(crate) rule: RuleName,
    pub(crate) matched: bool,
    /// Why it did not match.
    pub(crate) mismatch: Option<Mismatch>,
}

/// A rule, and where it is written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleName {
    pub(crate) name: String,
    /// None for what the proxy does by itself.
    pub(crate) written: Option<Written>,
}

/// Where a rule is written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    /// `VirtualService namespace/name`.
    pub(crate) resource: String,
    /// `file:line` of the resource.
    pub(crate) source: String,
    /// Position in `http[]`, from 0.
    pub(crate) http: u32,
    /// Position in `match[]`, from 0.
    #[serde(rename = "match")]
    pub(crate) block: u32,
}

/// The condition that did not hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mismatch {
    pub(crate) wanted: String,
    /// None if there was nothing.
    pub(crate) found: Option<String>,
}

/// What becomes of it.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// It goes no further.
    Refused(Failure),
    /// The proxy answers as a rule asks.
    Answered(Answer),
    /// It is sent on.
    Forwarded(Box<Forward>),
}

/// An error of the proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    pub(crate) status: u16,
    /// Response flags as in the access log.
    pub(crate) flags: String,
    /// Value of `x-meshproxy-error`.
    pub(crate) error: String,
    pub(crate) reason: String,
}

/// An answer of the proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// `redirect`, `direct_response` or `cors_response`, as in the access log.
    pub(crate) kind: &'static str,
    pub(crate) status: u16,
    #[serde(serialize_with = "lines")]
    pub(crate) headers: HeaderMap,
    pub(crate) body_bytes: u64,
}

/// How it is sent on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forward {
    /// Limit of the whole request; none without.
    pub(crate) timeout: Option<String>,
    pub(crate) retries: Retries,
    /// Present where the split is sticky.
    pub(crate) sticky: Option<Sticky>,
    /// Who gets copies.
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) targets: Vec<Target>,
}

/// What is tried again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retries {
    /// Attempts after the first; 0 if this request is not tried again.
    pub(crate) attempts: u32,
    pub(crate) per_try_timeout: Option<String>,
    /// Whether doing it twice is the same as doing it once.
    pub(crate) idempotent: bool,
    pub(crate) on: Vec<RetryOn>,
}

/// A condition of retries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetryOn {
    pub(crate) condition: String,
    pub(crate) meaning: String,
}

/// What ties a caller to a target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sticky {
    /// Where the key comes from.
    pub(crate) by: String,
    pub(crate) key: StickyKey,
    /// The `set-cookie` line of a key that is made.
    pub(crate) cookie: Option<String>,
}

/// The key by which something is decided for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StickyKey {
    /// The request has it, and it decides.
    Present,
    /// The request has none and gets a cookie with one; the first draw decides.
    Made,
    /// The request has none, and the draw decides.
    Absent,
}

/// One target of a split.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    /// Host, complete.
    pub(crate) host: String,
    pub(crate) subset: Option<String>,
    pub(crate) weight: u32,
    pub(crate) percent: f64,
    /// Whether this request goes here: certain, or open to the draw.
    pub(crate) taken: Taken,
    /// None if there is no such host, port or subset.
    pub(crate) destination: Option<Destination>,
    /// Why a request that is sent here fails for certain.
    pub(crate) failure: Option<Failure>,
    /// None where it cannot be sent.
    pub(crate) sent: Option<Sent>,
    /// Changes of the request's headers, in order.
    pub(crate) request_edits: Vec<Edit>,
    /// Changes of the response's headers, in order.
    pub(crate) response_edits: Vec<Edit>,
    /// What these changes add up to, from a response without headers.
    #[serde(serialize_with = "lines")]
    pub(crate) response_headers: HeaderMap,
}

/// Whether a request goes to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Taken {
    /// It does.
    Always,
    /// It may: the draw decides.
    Drawn,
    /// It does not.
    Never,
}

/// The request as the upstream sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    pub(crate) authority: String,
    pub(crate) path: String,
    /// All headers but those that differ from one request to the next.
    #[serde(serialize_with = "lines")]
    pub(crate) headers: HeaderMap,
}

/// A change of a header.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Edit {
    pub(crate) change: &'static str,
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// Headers as pairs, in order.
fn lines<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)));
    serializer.collect_seq(pairs)
}

// === impl Decision ===

impl Decision {
    /// The rule that the request meets.
    pub(crate) fn rule(&self) -> Option<&RuleName> {
        let tried = self.rules.last().filter(|tried| tried.matched)?;
        Some(&tried.rule)
    }
}

// === impl RuleName ===

impl fmt::Display for RuleName {
    /// Where it is written, and its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.written {
            None => write!(f, "{name} (by itself)"),
            Some(Written {
                resource,
                source,
                http,
                block,
            }) => write!(
                f,
                "{resource} http[{http}].match[{block}] \"{name}\" ({source})"
            ),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// Reads an answer that the proxy made.
    pub(crate) fn of<B>(response: &Response<B>, flags: String, reason: String) -> Self {
        let error = response.headers().get("x-meshproxy-error");
        Self {
            status: response.status().as_u16(),
            flags,
            error: error
                .and_then(|error| error.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            reason,
        }
    }
}
