//! `DestinationRule`: what applies to traffic once its destination is chosen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::virtual_service::PortSelector;
use crate::value::{Duration, Number};

/// `networking.istio.io` `DestinationRule` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationRule {
    /// Host or `*.` wildcard; a name without a dot is completed with the rule's namespace.
    pub host: String,
    /// Policy for every subset that does not say otherwise.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of endpoints, by label.
    pub subsets: Vec<Subset>,
    /// Namespaces that see this resource. Empty means `*`.
    pub export_to: Vec<String>,
    /// Client workloads of the same namespace to which the rule applies. Unset means all.
    pub workload_selector: Option<LabelSelector>,
}

/// A selector by labels that must all be equal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels and their values.
    pub match_labels: BTreeMap<String, String>,
}

/// A named group of a host's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Unique name; a DNS label.
    pub name: String,
    /// Labels that an endpoint must all have.
    pub labels: BTreeMap<String, String>,
    /// Policy of the subset; each block replaces the rule's.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// Policy of traffic to a host or subset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the upstream.
    pub tls: Option<ClientTls>,
    /// Policies of single service ports; they replace, never merge with, the blocks above.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// Tunnelling of TCP over another protocol.
    pub tunnel: Option<Tunnel>,
    /// PROXY protocol towards the upstream.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit of concurrent retries as a share of requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policy of one service port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortTrafficPolicy {
    /// Service port number.
    pub port: Option<PortSelector>,
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPool>,
    /// Ejection of endpoints that fail.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the upstream.
    pub tls: Option<ClientTls>,
}

/// How an endpoint is chosen: at most one of `simple` and `consistentHash`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// A standard algorithm; unset means least request.
    pub simple: Option<SimpleLb>,
    /// Affinity by a property of the request.
    pub consistent_hash: Option<ConsistentHash>,
    /// Locality preferences; replaces the mesh's.
    pub locality_lb_setting: Option<LocalityLb>,
    /// Deprecated form of `warmup`.
    pub warmup_duration_secs: Option<Duration>,
    /// Gradual increase of traffic to new endpoints.
    pub warmup: Option<Warmup>,
    /// Automatic shares by zone; excludes `localityLbSetting`.
    pub zone_aware_lb_setting: Option<ZoneAwareLb>,
}

/// Standard load-balancing algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// Least request.
    Unspecified,
    /// Deprecated name of least request.
    LeastConn,
    /// Any endpoint with equal chance.
    Random,
    /// The address the caller asked for, without balancing.
    Passthrough,
    /// In turn.
    RoundRobin,
    /// The less busy of two endpoints drawn at random.
    LeastRequest,
}

/// Affinity by a property of the request: one hash key and at most one algorithm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHash {
    /// Hash of a header.
    pub http_header_name: Option<String>,
    /// Hash of a cookie.
    pub http_cookie: Option<HttpCookie>,
    /// Hash of the caller's address.
    pub use_source_ip: Option<bool>,
    /// Hash of a query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Ring hash; the default.
    pub ring_hash: Option<RingHash>,
    /// Maglev.
    pub maglev: Option<Maglev>,
    /// Deprecated form of `ringHash.minimumRingSize`.
    pub minimum_ring_size: Option<Number<u64>>,
}

/// Hash of a cookie.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpCookie {
    /// Name of the cookie.
    pub name: String,
    /// Path of a cookie we make.
    pub path: Option<String>,
    /// Lifetime of a cookie we make; unset means that none is made, zero a session cookie.
    pub ttl: Option<Duration>,
    /// Further attributes of a cookie we make.
    pub attributes: Vec<CookieAttribute>,
}

/// Attribute of a generated cookie.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieAttribute {
    /// Name.
    pub name: String,
    /// Value, if it has one.
    pub value: Option<String>,
}

/// Ring hash.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RingHash {
    /// Least number of virtual nodes; unset means 1024.
    pub minimum_ring_size: Option<Number<u64>>,
}

/// Maglev.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Maglev {
    /// Table size, a prime below 5 000 011; unset means 65 537.
    pub table_size: Option<Number<u64>>,
}

/// Locality preferences.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLb {
    /// Fixed shares by locality; excludes `failover` and `failoverPriority`.
    pub distribute: Vec<LocalityDistribute>,
    /// Region to region.
    pub failover: Vec<LocalityFailover>,
    /// Labels whose equality gives priority, most important first.
    pub failover_priority: Vec<String>,
    /// Switch; unset means the mesh default (on).
    pub enabled: Option<bool>,
}

/// Fixed shares of one originating locality.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityDistribute {
    /// Originating locality, `region/zone/subzone`.
    pub from: String,
    /// Locality to weight; the weights total 100.
    pub to: BTreeMap<String, u32>,
}

/// Failover of one region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityFailover {
    /// Originating region.
    pub from: String,
    /// Region that takes over.
    pub to: String,
}

/// Gradual increase of traffic to new endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// Window; required.
    pub duration: Option<Duration>,
    /// First share, 0–100; unset means 10.
    pub minimum_percent: Option<Number<f64>>,
    /// Curve; unset means 1 (linear), at least 1.
    pub aggression: Option<Number<f64>>,
}

/// Automatic shares by zone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneAwareLb {
    /// Switch.
    pub enabled: Option<bool>,
    /// Region to region.
    pub failover: Vec<LocalityFailover>,
    /// Labels whose equality gives priority.
    pub failover_priority: Vec<String>,
    /// Least number of hosts in the local region; unset means 6.
    pub min_cluster_size: Option<Number<u64>>,
}

/// Limits and timeouts of connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPool {
    /// What TCP and HTTP have in common.
    pub tcp: Option<TcpSettings>,
    /// HTTP only.
    pub http: Option<HttpSettings>,
}

/// Connection settings that TCP and HTTP have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSettings {
    /// Most connections of this proxy to the destination; unset or 0 means no limit.
    pub max_connections: Option<i32>,
    /// Limit of a TCP connect; unset means 10 s.
    pub connect_timeout: Option<Duration>,
    /// TCP keep-alive probes; unset means off.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Greatest age of a connection; unset means none.
    pub max_connection_duration: Option<Duration>,
    /// Idle limit of opaque connections; unset means 1 h, zero none.
    pub idle_timeout: Option<Duration>,
}

/// TCP keep-alive probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead; unset means the system's (9).
    pub probes: Option<u32>,
    /// Idle time before the first probe; unset means the system's (7200 s).
    pub time: Option<Duration>,
    /// Time between probes; unset means the system's (75 s).
    pub interval: Option<Duration>,
}

/// HTTP connection settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSettings {
    /// Most requests that wait for a connection.
    pub http1_max_pending_requests: Option<i32>,
    /// Most active requests, HTTP/1 and HTTP/2.
    pub http2_max_requests: Option<i32>,
    /// Requests after which a connection is closed; 0 means no limit, 1 no keep-alive.
    pub max_requests_per_connection: Option<i32>,
    /// Most concurrent retries.
    pub max_retries: Option<i32>,
    /// Idle limit of a connection without requests; unset means 1 h.
    pub idle_timeout: Option<Duration>,
    /// Whether upstream connections use HTTP/2.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Use the protocol that the downstream used.
    pub use_client_protocol: Option<bool>,
    /// Most concurrent streams of an HTTP/2 connection.
    pub max_concurrent_streams: Option<i32>,
    /// HTTP/2 PINGs; unset means off.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// Whether upstream connections use HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// The mesh default: no upgrade.
    Default,
    /// HTTP/1.1 unless the port says HTTP/2.
    DoNotUpgrade,
    /// HTTP/2.
    Upgrade,
}

/// HTTP/2 PINGs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2KeepAlive {
    /// Time between PINGs; required.
    pub interval: Option<Duration>,
    /// Time to wait for the answer; required.
    pub timeout: Option<Duration>,
}

/// Ejection of endpoints that fail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Deprecated form of `consecutive5xxErrors`.
    pub consecutive_errors: Option<i32>,
    /// Count local failures apart from answers.
    pub split_external_local_origin_errors: Option<bool>,
    /// Local failures in a row; unset means 5 when split.
    pub consecutive_local_origin_failures: Option<u32>,
    /// 502, 503, 504 in a row; unset or 0 means off.
    pub consecutive_gateway_errors: Option<u32>,
    /// 5xx in a row; unset means 5, 0 off.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between sweeps; unset means 10 s.
    pub interval: Option<Duration>,
    /// First ejection time; unset means 30 s.
    pub base_ejection_time: Option<Duration>,
    /// Most ejected endpoints, 0–100; unset or 0 means 10.
    pub max_ejection_percent: Option<i32>,
    /// Share of healthy endpoints below which ejections are ignored, 0–100; unset means 0.
    pub min_health_percent: Option<i32>,
    /// Status codes that count as errors instead of 5xx, each 100–599.
    pub outlier_detection_http_error_codes: Vec<u32>,
}

/// TLS towards the upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTls {
    /// Mode; unset means `DISABLE`.
    pub mode: Option<ClientTlsMode>,
    /// File of the client certificate chain (`MUTUAL`).
    pub client_certificate: Option<String>,
    /// File of the client key (`MUTUAL`).
    pub private_key: Option<String>,
    /// File of the authorities that verify the server; unset means the system's.
    pub ca_certificates: Option<String>,
    /// Secret with the credentials (gateways, or sidecars with a selector).
    pub credential_name: Option<String>,
    /// Names of which the server certificate must bear one.
    pub subject_alt_names: Vec<String>,
    /// Server name of the handshake.
    pub sni: Option<String>,
    /// Do not verify the server.
    pub insecure_skip_verify: Option<bool>,
    /// File of the revocation list.
    pub ca_crl: Option<String>,
}

/// TLS mode towards the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// Plain text.
    Disable,
    /// TLS without client certificate.
    Simple,
    /// TLS with the given client certificate.
    Mutual,
    /// TLS with the workload certificate.
    IstioMutual,
}

/// Tunnelling of TCP over another protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tunnel {
    /// `CONNECT` (default) or `POST`.
    pub protocol: Option<String>,
    /// Host to which the connection is tunnelled.
    pub target_host: String,
    /// Port to which the connection is tunnelled.
    pub target_port: u32,
}

/// PROXY protocol towards the upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyProtocol {
    /// Version; unset means `V1`.
    pub version: Option<ProxyProtocolVersion>,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// Limit of concurrent retries as a share of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Share of active and pending requests, 0–100; unset means 20.
    pub percent: Option<Number<f64>>,
    /// Retries that are always allowed; unset or 0 means 3.
    pub min_retry_concurrency: Option<u32>,
    /// Interval over which new requests count too; unset means 0.
    pub budget_interval: Option<Duration>,
}
