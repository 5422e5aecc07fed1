//! `VirtualService`: how requests for a host are matched, changed and sent to destinations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::also_spelt;
use crate::value::{Duration, Percent, StringMatch};

/// `networking.istio.io` `VirtualService` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualService {
    /// Addressed hosts: DNS names, `*.` wildcards, IP addresses (gateways only). Empty in a delegate.
    pub hosts: Vec<String>,
    /// Gateways (`namespace/name` or `name`) and/or `mesh`. Empty means `[mesh]`.
    pub gateways: Vec<String>,
    /// HTTP routes in order; the first that matches wins.
    pub http: Vec<HttpRoute>,
    /// Routes of TLS that is not terminated, by SNI.
    pub tls: Vec<TlsRoute>,
    /// Routes of opaque TCP.
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see this resource: `.`, `*` or names. Empty means `*`.
    pub export_to: Vec<String>,
}

/// One rule of `http[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = also_spelt("mirrorPercent", "mirror_percent"))]
pub struct HttpRoute {
    /// Name shown in logs as the route name.
    pub name: Option<String>,
    /// Conditions; blocks are alternatives. Empty matches every request.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Weighted destinations.
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect.
    pub redirect: Option<HttpRedirect>,
    /// Answer with a fixed response.
    pub direct_response: Option<HttpDirectResponse>,
    /// Take the routes of another `VirtualService`.
    pub delegate: Option<Delegate>,
    /// Change of path or authority before the request is forwarded.
    pub rewrite: Option<HttpRewrite>,
    /// Limit of the whole request, all attempts included. Unset or zero means none.
    pub timeout: Option<Duration>,
    /// Retry policy; unset means the default policy.
    pub retries: Option<HttpRetry>,
    /// Injected faults.
    pub fault: Option<HttpFaultInjection>,
    /// A single mirror; excludes `mirrors`.
    pub mirror: Option<Destination>,
    /// Deprecated whole-number share of `mirror`.
    #[serde(alias = "mirror_percent")]
    pub mirror_percent: Option<u32>,
    /// Share of requests that go to `mirror`; unset means all.
    pub mirror_percentage: Option<Percent>,
    /// Several mirrors.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Cross-origin policy.
    pub cors_policy: Option<CorsPolicy>,
    /// Header changes for every destination of the rule.
    pub headers: Option<Headers>,
}

/// One block of `match[]`; all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// Appended to the route name.
    pub name: Option<String>,
    /// Path without query.
    pub uri: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// Request method.
    pub method: Option<StringMatch>,
    /// `Host` or `:authority` as sent.
    pub authority: Option<StringMatch>,
    /// Header conditions by lower-case name; an empty matcher means presence.
    pub headers: BTreeMap<String, StringMatch>,
    /// Port that is being addressed.
    pub port: Option<u32>,
    /// Labels of the calling workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways where the block applies; replaces the list of the `VirtualService`.
    pub gateways: Vec<String>,
    /// Query parameters by name; an empty matcher means presence.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Compare `uri` without regard to case (exact and prefix).
    pub ignore_uri_case: bool,
    /// Conditions that must not hold.
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Namespace of the calling workload.
    pub source_namespace: Option<String>,
    /// Prefix of the route's statistics.
    pub stat_prefix: Option<String>,
}

/// Where a request goes: a host of the registry, a subset of it, a port of it.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// Host of the service registry; a name without a dot is completed with the rule's namespace.
    pub host: String,
    /// Subset of the host's `DestinationRule`.
    pub subset: Option<String>,
    /// Port of the service; required when it has several.
    pub port: Option<PortSelector>,
}

/// A port by number.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSelector {
    /// Port number, 1–65535.
    pub number: u32,
}

/// One weighted destination of an HTTP rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteDestination {
    /// Target.
    pub destination: Option<Destination>,
    /// Relative weight; the share is this over the sum. A single destination gets everything.
    pub weight: i32,
    /// Header changes for this destination, applied after those of the rule.
    pub headers: Option<Headers>,
}

/// Header changes on the request and the response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Headers {
    /// Changes before the request is forwarded.
    pub request: Option<HeaderOperations>,
    /// Changes before the response is returned.
    pub response: Option<HeaderOperations>,
}

/// Set, add and remove operations on headers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderOperations {
    /// Overwrite.
    pub set: BTreeMap<String, String>,
    /// Append.
    pub add: BTreeMap<String, String>,
    /// Remove.
    pub remove: Vec<String>,
}

/// Redirect answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRedirect {
    /// Replaces the whole path.
    pub uri: Option<String>,
    /// Replaces the matched prefix; excludes `uri`.
    pub prefix_rewrite: Option<String>,
    /// Replaces the authority.
    pub authority: Option<String>,
    /// Port of the new location; excludes `derivePort`.
    pub port: Option<u32>,
    /// How the port follows from the request.
    pub derive_port: Option<RedirectPort>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Status 300–399; unset or 0 means 301.
    pub redirect_code: Option<u32>,
}

/// How a redirect's port follows from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPort {
    /// 80 for http, 443 for https.
    FromProtocolDefault,
    /// The port the request came to.
    FromRequestPort,
}

/// Fixed answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpDirectResponse {
    /// Status 200–599.
    pub status: u32,
    /// Body; none when unset.
    pub body: Option<HttpBody>,
}

/// Body of a direct response: at most one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpBody {
    /// Literal text.
    pub string: Option<String>,
    /// Base64 of the bytes.
    pub bytes: Option<String>,
}

/// Reference to the `VirtualService` that supplies the routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Delegate {
    /// Name of the delegate.
    pub name: String,
    /// Namespace of the delegate; unset means the root's.
    pub namespace: Option<String>,
}

/// Change of path or authority.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRewrite {
    /// Replaces the matched prefix, or the path when the match was exact.
    pub uri: Option<String>,
    /// New authority.
    pub authority: Option<String>,
    /// Regular-expression rewrite of the path; excludes `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// Regular-expression rewrite; all occurrences are replaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegexRewrite {
    /// RE2 pattern.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Substitution with `\1`-style groups.
    pub rewrite: String,
}

/// Retry policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRetry {
    /// Further attempts after the first; 0 disables retries.
    pub attempts: i32,
    /// Limit of one attempt; unset means the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Conditions and status codes, comma separated.
    pub retry_on: Option<String>,
    /// Also retry in other localities.
    pub retry_remote_localities: Option<bool>,
    /// Avoid hosts that were tried; unset means true.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Base interval between attempts; unset means 25 ms.
    pub backoff: Option<Duration>,
}

/// Injected faults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFaultInjection {
    /// Delay before forwarding.
    pub delay: Option<FaultDelay>,
    /// Answer with an error instead of forwarding.
    pub abort: Option<FaultAbort>,
}

/// Injected delay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FaultDelay {
    /// Deprecated whole-number share.
    pub percent: Option<i32>,
    /// Length of the delay, at least 1 ms.
    pub fixed_delay: Option<Duration>,
    /// Not supported; always rejected.
    pub exponential_delay: Option<Duration>,
    /// Share of requests; unset means none.
    pub percentage: Option<Percent>,
}

/// Injected error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FaultAbort {
    /// Deprecated whole-number share.
    pub percent: Option<i32>,
    /// HTTP status 200–599.
    pub http_status: Option<i32>,
    /// gRPC status name, such as `UNAVAILABLE`.
    pub grpc_status: Option<String>,
    /// Not supported; always rejected.
    pub http2_error: Option<String>,
    /// Share of requests; unset means none.
    pub percentage: Option<Percent>,
}

/// One of several mirrors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMirrorPolicy {
    /// Target.
    pub destination: Option<Destination>,
    /// Share of requests; unset means all.
    pub percentage: Option<Percent>,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// Deprecated exact origins.
    pub allow_origin: Vec<String>,
    /// Origins that are allowed; any match suffices.
    pub allow_origins: Vec<StringMatch>,
    /// Methods of `access-control-allow-methods`.
    pub allow_methods: Vec<String>,
    /// Headers of `access-control-allow-headers`.
    pub allow_headers: Vec<String>,
    /// Headers of `access-control-expose-headers`.
    pub expose_headers: Vec<String>,
    /// `access-control-max-age`.
    pub max_age: Option<Duration>,
    /// `access-control-allow-credentials`.
    pub allow_credentials: Option<bool>,
    /// What happens to preflights of origins that are not allowed; unset means forward.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

/// What happens to preflights of origins that are not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// Same as `FORWARD`.
    Unspecified,
    /// Send them to the upstream.
    Forward,
    /// Answer them here, without permission.
    Ignore,
}

/// One rule of `tls[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsRoute {
    /// Conditions; required.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatch>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// Conditions of a TLS route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsMatch {
    /// Server names; each must lie within the hosts of the `VirtualService`.
    pub sni_hosts: Vec<String>,
    /// Destination addresses or CIDR ranges.
    pub destination_subnets: Vec<String>,
    /// Port that is being addressed.
    pub port: Option<u32>,
    /// Labels of the calling workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways where the block applies.
    pub gateways: Vec<String>,
    /// Namespace of the calling workload.
    pub source_namespace: Option<String>,
}

/// One rule of `tcp[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRoute {
    /// Conditions; empty matches every connection.
    #[serde(rename = "match")]
    pub matches: Vec<L4Match>,
    /// Weighted destinations.
    pub route: Vec<RouteDestination>,
}

/// Conditions of a TCP route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct L4Match {
    /// Destination addresses or CIDR ranges.
    pub destination_subnets: Vec<String>,
    /// Port that is being addressed.
    pub port: Option<u32>,
    /// Source address or CIDR range.
    pub source_subnet: Option<String>,
    /// Labels of the calling workload.
    pub source_labels: BTreeMap<String, String>,
    /// Gateways where the block applies.
    pub gateways: Vec<String>,
    /// Namespace of the calling workload.
    pub source_namespace: Option<String>,
}

/// One weighted destination of a TLS or TCP rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteDestination {
    /// Target.
    pub destination: Option<Destination>,
    /// Relative weight.
    pub weight: i32,
}
