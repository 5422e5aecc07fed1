//! `ServiceEntry`: a host that the registry would not know otherwise.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::Metadata;
use crate::resource::workload_entry::WorkloadEntry;

/// Label, or annotation, that says with `false` that a `ServiceEntry` wants no virtual address.
const ALLOCATION_SWITCH: &str = "networking.istio.io/enable-autoallocate-ip";

/// `networking.istio.io` `ServiceEntry` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntry {
    /// DNS names or `*.` wildcards; at least one.
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR ranges.
    pub addresses: Vec<String>,
    /// Ports of the service.
    pub ports: Vec<ServicePort>,
    /// Outside or inside the mesh; unset means outside.
    pub location: Option<Location>,
    /// How endpoints are found; unset means `NONE`.
    pub resolution: Option<Resolution>,
    /// Endpoints; excludes `workloadSelector`.
    pub endpoints: Vec<WorkloadEntry>,
    /// Select endpoints among `WorkloadEntry` resources and pods of the namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see this resource. Empty means `*`.
    pub export_to: Vec<String>,
    /// Names that server certificates may bear.
    pub subject_alt_names: Vec<String>,
}

/// Whether an entry wants no virtual address where it has none.
pub fn refuses_address(meta: &Metadata) -> bool {
    let written = [&meta.labels, &meta.annotations].map(|it| it.get(ALLOCATION_SWITCH));
    let mut written = written.into_iter().flatten();
    written.any(|switch| switch.eq_ignore_ascii_case("false"))
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Number, 1–65535.
    pub number: u32,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `MONGO`, `TCP` or `TLS`; empty means detected.
    pub protocol: String,
    /// Unique name.
    pub name: String,
    /// Port of the endpoints; unset means `number`.
    pub target_port: Option<u32>,
}

/// Outside or inside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside: no mesh TLS.
    MeshExternal,
    /// Inside.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The address the caller asked for.
    None,
    /// The addresses of `endpoints`.
    Static,
    /// All DNS answers for the endpoints' names, or the hosts.
    Dns,
    /// The first DNS answer.
    DnsRoundRobin,
    /// DNS by the request's host, for wildcards.
    DynamicDns,
}

/// Selector of workloads by labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// Labels and their values.
    pub labels: BTreeMap<String, String>,
}
