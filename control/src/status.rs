//! What became of resources and proxies, for people and for Kubernetes.

use std::collections::BTreeMap;

use config::wire::Report;
use serde::{Deserialize, Serialize};

/// One connected proxy, as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatus {
    /// Name and namespace of the workload, `name.namespace`.
    pub id: String,
    /// Namespace.
    pub namespace: String,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
    /// SPIFFE identity by which it was let in; empty on the port without TLS.
    pub identity: String,
    /// Address that it connected from.
    pub address: String,
    /// Version of its program.
    pub version: String,
    /// Seconds since it connected.
    pub connected_seconds: u64,
    /// Generation of the mesh of which it acknowledged everything that concerns it.
    pub acknowledged: u64,
    /// Milliseconds for which the oldest response waits to be acknowledged; none if none does.
    pub lag_milliseconds: Option<u64>,
    /// Resources that it has.
    pub resources: usize,
    /// Slices of endpoints that it has.
    pub endpoints: usize,
    /// Hosts and addresses that it asked for.
    pub demands: usize,
    /// What it said of what it received.
    pub report: Report,
}
