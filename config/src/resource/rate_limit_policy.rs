//! `RateLimitPolicy`: how many requests may come in a span of time.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::selector::LabelSelector;
use crate::resource::virtual_service::HttpMatch;
use crate::value::Duration;

/// What stands around the name of a header in a dimension.
const HEADER_PREFIX: &str = "request.headers[";
const HEADER_SUFFIX: &str = "]";

/// `policy.meshproxy.io` `RateLimitPolicy` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitPolicy {
    /// Workloads and gateways whose incoming requests are limited; unset, like no labels, means all
    /// of the namespace. Excludes `targetRefs`.
    pub selector: Option<LabelSelector>,
    /// Resources whose requests are limited where they are sent.
    pub target_refs: Vec<TargetRef>,
    /// Limits; a request must pass all that apply to it.
    pub limits: Vec<Limit>,
    /// Who counts; unset means `LOCAL`.
    pub scope: Option<Scope>,
    /// The service that counts; with scope `SHARED` only, and then required.
    pub service: Option<LimitService>,
}

/// A resource of the policy's namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// API group, `networking.istio.io`.
    pub group: String,
    /// Kind, `VirtualService`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A number of requests in a span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limit {
    /// Unique in the policy; names the limit in metrics and logs.
    pub name: String,
    /// Requests that may come in `per`, at least 1; required.
    pub requests: Option<u32>,
    /// The span, 1 ms to 8760 h; required.
    pub per: Option<Duration>,
    /// Requests that may come at once, at least 1; unset means `requests`.
    pub burst: Option<u32>,
    /// Requests that count: those that one of the blocks matches. Empty means all.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Dimensions; each combination of their values is counted apart.
    pub key: Vec<String>,
    /// Other numbers for some requests; the first that fits counts.
    pub overrides: Vec<Override>,
}

/// Other numbers for requests of which all dimensions have the given values. They are counted apart
/// from those of the limit itself, by the limit's `key` if it has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Override {
    /// Values by dimension; at least one.
    pub dimensions: BTreeMap<String, String>,
    /// As in the limit; required.
    pub requests: Option<u32>,
    /// As in the limit; required.
    pub per: Option<Duration>,
    /// As in the limit.
    pub burst: Option<u32>,
}

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    /// Each proxy by itself.
    Local,
    /// A rate-limit service for all proxies.
    Shared,
}

/// A service that speaks `envoy.service.ratelimit.v3.RateLimitService`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitService {
    /// Host of the service registry; a short name is completed with the policy's namespace.
    pub host: String,
    /// Port of the service, 1–65535; it should be one of protocol `GRPC` or `HTTP2`.
    pub port: u32,
    /// The `domain` of the API; unset means `meshproxy`.
    pub domain: Option<String>,
    /// Limit of the wait for an answer, 1 ms to 10 s; unset means 20 ms.
    pub timeout: Option<Duration>,
    /// What becomes of requests while the service does not answer; unset means `ALLOW`.
    pub failure_mode: Option<FailureMode>,
}

/// What becomes of requests while a rate-limit service does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureMode {
    /// They pass.
    Allow,
    /// They are refused with 503.
    Deny,
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// `source.workload`: the workload that calls.
    SourceWorkload,
    /// `source.version`: its label `version`.
    SourceVersion,
    /// `source.namespace`: its namespace.
    SourceNamespace,
    /// `source.principal`: its SPIFFE identity.
    SourcePrincipal,
    /// `source.ip`: the address that the connection comes from.
    SourceIp,
    /// `destination.host`: the host that is called.
    DestinationHost,
    /// `request.method`.
    RequestMethod,
    /// `request.path`: the path without query, in normal form.
    RequestPath,
    /// `request.headers[NAME]`: a header, its name in lower case.
    RequestHeader(String),
}

// === impl RateLimitPolicy ===

impl RateLimitPolicy {
    /// Whether it depends on which workload calls, which is known by the endpoints that have its address.
    pub fn tells_callers_apart(&self) -> bool {
        let is_of_caller = |name: &String| match Dimension::parse(name) {
            Some(Dimension::SourceWorkload | Dimension::SourceVersion) => true,
            Some(Dimension::SourceNamespace) => true,
            Some(Dimension::SourcePrincipal | Dimension::SourceIp) => false,
            Some(Dimension::DestinationHost | Dimension::RequestMethod) => false,
            Some(Dimension::RequestPath | Dimension::RequestHeader(_)) | None => false,
        };
        let names_callers = |block: &HttpMatch| {
            !block.source_labels.is_empty()
                || block
                    .source_namespace
                    .as_ref()
                    .is_some_and(|it| !it.is_empty())
        };
        self.limits.iter().any(|limit| {
            let dimensions = limit.overrides.iter().flat_map(|it| it.dimensions.keys());
            limit.key.iter().chain(dimensions).any(is_of_caller)
                || limit.matches.iter().any(names_callers)
        })
    }
}

// === impl Dimension ===

impl Dimension {
    /// The dimensions that have no name of their own to give.
    pub const NAMED: [(&'static str, Self); 8] = [
        ("source.workload", Self::SourceWorkload),
        ("source.version", Self::SourceVersion),
        ("source.namespace", Self::SourceNamespace),
        ("source.principal", Self::SourcePrincipal),
        ("source.ip", Self::SourceIp),
        ("destination.host", Self::DestinationHost),
        ("request.method", Self::RequestMethod),
        ("request.path", Self::RequestPath),
    ];

    /// Reads a dimension; `None` for what is none. Whether the name of a header can be one is not
    /// looked at.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, named)) = Self::NAMED.into_iter().find(|(name, _)| *name == text) {
            return Some(named);
        }
        let header = text
            .strip_prefix(HEADER_PREFIX)?
            .strip_suffix(HEADER_SUFFIX)?;
        Some(Self::RequestHeader(header.to_ascii_lowercase()))
    }
}
