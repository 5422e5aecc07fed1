//! `WorkloadEntry`: one endpoint that is not a pod.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `networking.istio.io` `WorkloadEntry` spec, also an endpoint of a `ServiceEntry`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntry {
    /// IP address, DNS name (with DNS resolution) or `unix://` path.
    pub address: String,
    /// Port by the name of the service port.
    pub ports: BTreeMap<String, u32>,
    /// Labels of the endpoint.
    pub labels: BTreeMap<String, String>,
    /// Network of the endpoint.
    pub network: Option<String>,
    /// `region/zone/subzone`.
    pub locality: Option<String>,
    /// Relative weight; unset or 0 means 1.
    pub weight: Option<u32>,
    /// Service account; gives the SPIFFE identity.
    pub service_account: Option<String>,
}
