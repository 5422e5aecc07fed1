//! `PeerAuthentication`: whether a workload takes mutual TLS, plain text, or both.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::LabelSelector;

/// `security.istio.io` `PeerAuthentication` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthentication {
    /// Workloads it is for; unset means all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<LabelSelector>,
    /// For all ports; unset inherits from the namespace, then from the mesh, then is `PERMISSIVE`.
    pub mtls: Option<MutualTls>,
    /// By port of the workload; needs a selector, and has a port if it is there.
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// How a port takes connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTls {
    /// Unset means inherit.
    pub mode: Option<MutualTlsMode>,
}

/// How a port takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// Inherits.
    Unset,
    /// Plain text; TLS is not ended here.
    Disable,
    /// Plain text or mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

// === impl PeerAuthentication ===

impl PeerAuthentication {
    /// Whether it is for some workloads only, rather than for a namespace or the mesh.
    pub fn has_selector(&self) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| !selector.match_labels.is_empty())
    }
}
