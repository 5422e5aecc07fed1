//! Which workloads or resources a policy is for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selector of workloads by labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that a workload must all have.
    pub match_labels: BTreeMap<String, String>,
}

/// A resource of the policy's namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// API group, such as `networking.istio.io`; empty for that of core Kubernetes.
    pub group: String,
    /// Kind, such as `VirtualService`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Must be empty or that of the policy.
    pub namespace: String,
}
