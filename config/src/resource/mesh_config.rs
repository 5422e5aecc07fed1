//! Istio's `MeshConfig`: settings of the mesh as a whole, as far as they have a meaning here.
//!
//! Nobody writes it as a resource of its own: it is text in the `ConfigMap` named `istio`, or a part of
//! an `IstioOperator`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resource::sidecar::OutboundTrafficPolicy;
use crate::value::Duration;

/// The settings that count. What else is written is told by the loader.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// Trust domain of the mesh.
    pub trust_domain: Option<String>,
    /// Other trust domains whose identities count as those of the mesh.
    pub trust_domain_aliases: Vec<String>,
    /// Namespace whose policies are for all others.
    pub root_namespace: Option<String>,
    /// How far proxies bring paths to normal form.
    pub path_normalization: ProxyPathNormalization,
    /// Services that proxies ask or tell something.
    pub extension_providers: Vec<ExtensionProvider>,
    /// What happens to traffic for unknown hosts, where no `Sidecar` says so.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// What proxies have in common.
    pub default_config: DefaultConfig,
    /// The document that it is a part of.
    #[serde(skip)]
    pub carrier: Carrier,
}

/// How far proxies bring paths to normal form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyPathNormalization {
    /// How far; unset leaves it to each proxy.
    pub normalization: Option<PathNormalization>,
}

/// A normal form of paths, each stronger than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathNormalization {
    /// None at all.
    None,
    /// That of RFC 3986.
    #[default]
    #[serde(alias = "DEFAULT")]
    Base,
    /// The same, and slashes that follow one another become one.
    MergeSlashes,
    /// The same, once escaped slashes and backslashes are what they stand for.
    DecodeAndMergeSlashes,
}

/// What proxies have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultConfig {
    /// What is in front of them.
    pub gateway_topology: Topology,
    /// How long they may take to stop.
    pub drain_duration: Option<Duration>,
    /// The same when they exit.
    pub termination_drain_duration: Option<Duration>,
}

/// What is in front of proxies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Proxies that are believed whom they got a request from; none if unset.
    pub num_trusted_proxies: Option<u32>,
}

/// Which document carries it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carrier {
    /// A `ConfigMap`, as text under `data.mesh`.
    #[default]
    ConfigMap,
    /// An `IstioOperator`, under `spec.meshConfig`.
    Operator,
}

/// A service that proxies ask; of those that are no authorizers only the name is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// Its name in policies.
    pub name: String,
    /// An authorizer that is asked by HTTP.
    pub envoy_ext_authz_http: Option<HttpAuthorizer>,
    /// An authorizer that is asked by gRPC.
    pub envoy_ext_authz_grpc: Option<GrpcAuthorizer>,
}

/// An authorizer that gets the request's head, and says what it thinks by its status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpAuthorizer {
    /// Host of the registry, `[NAMESPACE/]HOST`.
    pub service: String,
    /// Its port.
    pub port: u32,
    /// Longest wait for an answer; 10 min if unset, as in Istio's `600s`.
    pub timeout: Option<Duration>,
    /// Put before the path of the request.
    pub path_prefix: Option<String>,
    /// Whether a request passes if there is no answer.
    pub fail_open: Option<bool>,
    /// Status of the answer to the client if there is none of the authorizer; 403 if unset.
    pub status_on_error: Option<String>,
    /// The older name of `includeRequestHeadersInCheck`.
    pub include_headers_in_check: Vec<String>,
    /// Headers of the request that the authorizer gets: names, `PREFIX*` or `*SUFFIX`.
    pub include_request_headers_in_check: Vec<String>,
    /// Headers that it gets besides.
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    /// How much of the body it gets; nothing if unset.
    pub include_request_body_in_check: Option<IncludedBody>,
    /// Headers of its answer that the upstream gets with the request.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of its answer that the client gets with the response.
    pub headers_to_downstream_on_allow: Vec<String>,
    /// Headers of its answer that the client gets with the refusal.
    pub headers_to_downstream_on_deny: Vec<String>,
    /// Whether the route is found after the authorizer has changed the request. It always is.
    pub clear_route_cache: Option<bool>,
}

/// An authorizer of `envoy.service.auth.v3.Authorization`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcAuthorizer {
    /// Host of the registry, `[NAMESPACE/]HOST`.
    pub service: String,
    /// Its port.
    pub port: u32,
    /// Longest wait for an answer; 10 min if unset.
    pub timeout: Option<Duration>,
    /// Whether a request passes if there is no answer.
    pub fail_open: Option<bool>,
    /// Status of the answer to the client if there is none of the authorizer; 403 if unset.
    pub status_on_error: Option<String>,
    /// How much of the body it gets; nothing if unset.
    pub include_request_body_in_check: Option<IncludedBody>,
    /// Whether the route is found after the authorizer has changed the request. It always is.
    pub clear_route_cache: Option<bool>,
}

/// How much of a request's body an authorizer gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IncludedBody {
    /// Most bytes.
    pub max_request_bytes: u32,
    /// Whether the beginning of a longer one is enough; else it is refused with 413.
    pub allow_partial_message: bool,
    /// Whether it is sent as bytes rather than as text, by gRPC.
    pub pack_as_bytes: bool,
}

/// How an authorizer is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Authorizer<'c> {
    /// By HTTP.
    Http(&'c HttpAuthorizer),
    /// By gRPC.
    Grpc(&'c GrpcAuthorizer),
}

// === impl Carrier ===

impl Carrier {
    /// The field of the document, and the field in it, that hold the settings.
    pub fn fields(self) -> (&'static str, &'static str) {
        match self {
            Self::ConfigMap => ("data", "mesh"),
            Self::Operator => ("spec", "meshConfig"),
        }
    }
}

// === impl ExtensionProvider ===

impl ExtensionProvider {
    /// The authorizer, if it is one.
    pub fn authorizer(&self) -> Option<Authorizer<'_>> {
        let http = self.envoy_ext_authz_http.as_ref().map(Authorizer::Http);
        http.or(self.envoy_ext_authz_grpc.as_ref().map(Authorizer::Grpc))
    }
}

// === impl Authorizer ===

impl<'c> Authorizer<'c> {
    /// Host as written and port.
    pub fn service(self) -> (&'c str, u32) {
        match self {
            Self::Http(it) => (&it.service, it.port),
            Self::Grpc(it) => (&it.service, it.port),
        }
    }

    /// The host without the namespace before it.
    pub fn host(self) -> &'c str {
        let (service, _) = self.service();
        service.split_once('/').map_or(service, |(_, host)| host)
    }

    /// The namespace before the host, if it is written.
    pub fn namespace(self) -> Option<&'c str> {
        let (service, _) = self.service();
        service.split_once('/').map(|(namespace, _)| namespace)
    }

    /// Longest wait for an answer.
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Self::Http(it) => it.timeout,
            Self::Grpc(it) => it.timeout,
        }
    }

    /// Whether a request passes if there is no answer.
    pub fn fails_open(self) -> bool {
        match self {
            Self::Http(it) => it.fail_open,
            Self::Grpc(it) => it.fail_open,
        }
        .unwrap_or(false)
    }

    /// Status of the answer to the client if there is none of the authorizer, as written.
    pub fn status_on_error(self) -> Option<&'c str> {
        match self {
            Self::Http(it) => it.status_on_error.as_deref(),
            Self::Grpc(it) => it.status_on_error.as_deref(),
        }
        .filter(|it| !it.is_empty())
    }

    /// How much of the body it gets.
    pub fn body(self) -> Option<IncludedBody> {
        match self {
            Self::Http(it) => it.include_request_body_in_check,
            Self::Grpc(it) => it.include_request_body_in_check,
        }
    }
}
