//! `Sidecar`: listeners and scope of the proxies beside workloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::destination_rule::ConnectionPool;
use crate::resource::gateway::ServerTls;
use crate::resource::service_entry::WorkloadSelector;
use crate::resource::virtual_service::Destination;

/// `networking.istio.io` `Sidecar` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// Workloads of the namespace; unset means all.
    pub workload_selector: Option<WorkloadSelector>,
    /// Listeners for traffic to the workload.
    pub ingress: Vec<IngressListener>,
    /// Listeners and scope of traffic from the workload.
    pub egress: Vec<EgressListener>,
    /// Connection limits towards the workload.
    pub inbound_connection_pool: Option<ConnectionPool>,
    /// What happens to traffic for unknown hosts.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// A listener for traffic to the workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressListener {
    /// Port; required.
    pub port: Option<SidecarPort>,
    /// Address to bind.
    pub bind: Option<String>,
    /// How traffic is captured.
    pub capture_mode: Option<CaptureMode>,
    /// `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT`, `[::]:PORT` or `unix://PATH`.
    pub default_endpoint: Option<String>,
    /// TLS for traffic from outside the mesh.
    pub tls: Option<ServerTls>,
    /// Connection limits of this port.
    pub connection_pool: Option<ConnectionPool>,
}

/// A listener and scope of traffic from the workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressListener {
    /// Port; unset means every port of the hosts.
    pub port: Option<SidecarPort>,
    /// Address to bind.
    pub bind: Option<String>,
    /// How traffic is captured.
    pub capture_mode: Option<CaptureMode>,
    /// Hosts in scope, `namespace/name`.
    pub hosts: Vec<String>,
}

/// A port of a `Sidecar` listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarPort {
    /// Number, 1–65535.
    pub number: u32,
    /// Protocol.
    pub protocol: String,
    /// Name.
    pub name: String,
    /// Deprecated port of the endpoint.
    pub target_port: Option<u32>,
}

/// How traffic to a listener is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the environment does.
    Default,
    /// By iptables.
    Iptables,
    /// Not: the application connects to the listener.
    None,
}

/// What happens to traffic for unknown hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// Mode; unset means `REGISTRY_ONLY` in the block, `ALLOW_ANY` without it.
    pub mode: Option<OutboundMode>,
    /// Where unknown traffic goes instead of its destination.
    pub egress_proxy: Option<Destination>,
}

/// Mode of the outbound traffic policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// Refuse unknown hosts.
    RegistryOnly,
    /// Let unknown hosts pass.
    AllowAny,
}

// === impl IngressListener ===

impl IngressListener {
    /// Whether callers connect to it by themselves: nothing is captured for it.
    pub fn is_explicit(&self) -> bool {
        self.capture_mode == Some(CaptureMode::None)
    }
}

// === impl EgressListener ===

impl EgressListener {
    /// Whether the application connects to it by itself: nothing is captured for it.
    pub fn is_explicit(&self) -> bool {
        self.port.is_some() && self.capture_mode == Some(CaptureMode::None)
    }
}

// === impl OutboundTrafficPolicy ===

impl OutboundTrafficPolicy {
    /// The mode that counts.
    pub fn mode(&self) -> OutboundMode {
        self.mode.unwrap_or(OutboundMode::RegistryOnly)
    }
}
