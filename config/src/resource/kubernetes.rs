//! The Kubernetes kinds that name services and their endpoints: `Service` and `EndpointSlice`.
//!
//! Only the fields that steer traffic are typed; Kubernetes has many more, and a manifest that the
//! API server accepts is accepted here, so unknown fields of these two kinds are not errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Kubernetes `v1` `Service`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// The service's specification.
    pub spec: ServiceSpec,
}

/// Kubernetes `Service` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Ports of the service.
    pub ports: Vec<KubePort>,
    /// Labels of its pods.
    pub selector: BTreeMap<String, String>,
    /// Virtual address, or `None` for a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// All virtual addresses.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// DNS name of an `ExternalName` service.
    pub external_name: Option<String>,
}

/// Port of a Kubernetes `Service`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubePort {
    /// Name; its prefix up to `-` tells the protocol.
    pub name: Option<String>,
    /// Number, 1–65535.
    pub port: u32,
    /// Number or name of the port of the pods.
    pub target_port: Option<IntOrString>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Application protocol, such as `http` or `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(u32),
    /// A name.
    String(String),
}

/// Kubernetes `discovery.k8s.io/v1` `EndpointSlice`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports that every endpoint has.
    pub ports: Vec<SlicePort>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// Addresses of the one endpoint.
    pub addresses: Vec<String>,
    /// Readiness.
    pub conditions: EndpointConditions,
    /// Pod behind the endpoint.
    pub target_ref: Option<ObjectReference>,
    /// Node of the pod.
    pub node_name: Option<String>,
    /// Zone of the node.
    pub zone: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Deprecated topology labels.
    pub deprecated_topology: BTreeMap<String, String>,
    /// Labels of the pod. Not Kubernetes': filled in by the control plane, which knows the pods.
    pub labels: Option<BTreeMap<String, String>>,
    /// Service account of the pod, filled in in the same way.
    pub service_account: Option<String>,
}

/// Readiness of an endpoint; unset means true for `ready` and `serving`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Takes new traffic.
    pub ready: Option<bool>,
    /// Able to serve, also while terminating.
    pub serving: Option<bool>,
    /// About to go.
    pub terminating: Option<bool>,
}

/// Reference to another object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Kind, such as `Pod`.
    pub kind: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
}

/// Port of a slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// Name, equal to that of the service port.
    pub name: Option<String>,
    /// Number.
    pub port: Option<u32>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Application protocol.
    pub app_protocol: Option<String>,
}
