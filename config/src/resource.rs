//! One resource as it was written: who it is, where it stands, and its typed spec.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub mod authorization_policy;
pub mod destination_rule;
pub mod gateway;
pub mod kubernetes;
pub mod mesh_config;
pub mod peer_authentication;
pub mod rate_limit_policy;
pub mod request_authentication;
pub mod secret;
pub mod selector;
pub mod service_entry;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;

use authorization_policy::AuthorizationPolicy;
use destination_rule::DestinationRule;
use gateway::Gateway;
use kubernetes::{EndpointSlice, Service};
use mesh_config::MeshConfig;
use peer_authentication::PeerAuthentication;
use rate_limit_policy::RateLimitPolicy;
use request_authentication::RequestAuthentication;
use secret::Secret;
use service_entry::ServiceEntry;
use sidecar::Sidecar;
use virtual_service::VirtualService;
use workload_entry::WorkloadEntry;

/// A resource with its identity and the place it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// `metadata` that steers anything.
    pub meta: Metadata,
    /// Where it was written.
    pub source: Source,
    /// The typed spec; its variant is the kind.
    pub spec: Spec,
}

/// The part of `metadata` that steers anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Name, unique per kind and namespace.
    pub name: String,
    /// Namespace; the loader's default when the document names none.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 time of creation; the older of two conflicting resources wins.
    pub creation_timestamp: Option<String>,
}

/// Where a resource was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File, as it was named on the command line or found in a folder.
    pub file: Arc<Path>,
    /// Line of the document's first character, from 1.
    pub line: u32,
}

/// The typed spec of every kind that steers traffic.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "resources live behind an Arc, one spec per allocation"
)]
pub enum Spec {
    /// `networking.istio.io` `VirtualService`.
    VirtualService(VirtualService),
    /// `networking.istio.io` `DestinationRule`.
    DestinationRule(DestinationRule),
    /// `networking.istio.io` `Gateway`.
    Gateway(Gateway),
    /// `networking.istio.io` `ServiceEntry`.
    ServiceEntry(ServiceEntry),
    /// `networking.istio.io` `WorkloadEntry`.
    WorkloadEntry(WorkloadEntry),
    /// `networking.istio.io` `Sidecar`.
    Sidecar(Sidecar),
    /// `security.istio.io` `PeerAuthentication`.
    PeerAuthentication(PeerAuthentication),
    /// `security.istio.io` `RequestAuthentication`.
    RequestAuthentication(RequestAuthentication),
    /// `security.istio.io` `AuthorizationPolicy`.
    AuthorizationPolicy(AuthorizationPolicy),
    /// `policy.meshproxy.io` `RateLimitPolicy`.
    RateLimitPolicy(RateLimitPolicy),
    /// Istio's `MeshConfig`.
    MeshConfig(MeshConfig),
    /// Kubernetes `Service`.
    Service(Service),
    /// Kubernetes `EndpointSlice`.
    EndpointSlice(EndpointSlice),
    /// Kubernetes `Secret`.
    Secret(Secret),
}

// === impl Resource ===

impl Resource {
    /// The kind as written in YAML.
    pub fn kind(&self) -> &'static str {
        match self.spec {
            Spec::VirtualService(_) => "VirtualService",
            Spec::DestinationRule(_) => "DestinationRule",
            Spec::Gateway(_) => "Gateway",
            Spec::ServiceEntry(_) => "ServiceEntry",
            Spec::WorkloadEntry(_) => "WorkloadEntry",
            Spec::Sidecar(_) => "Sidecar",
            Spec::PeerAuthentication(_) => "PeerAuthentication",
            Spec::RequestAuthentication(_) => "RequestAuthentication",
            Spec::AuthorizationPolicy(_) => "AuthorizationPolicy",
            Spec::RateLimitPolicy(_) => "RateLimitPolicy",
            Spec::MeshConfig(_) => "MeshConfig",
            Spec::Service(_) => "Service",
            Spec::EndpointSlice(_) => "EndpointSlice",
            Spec::Secret(_) => "Secret",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}/{}",
            self.kind(),
            self.meta.namespace,
            self.meta.name
        )
    }
}
