//! What became of resources and proxies, for people and for Kubernetes.
//!
//! - here: what is known of each proxy and each resource, as `GET /api/proxies` and `/api/resources`
//!   tell it.
//! - `known`, `resource`: the same made of a generation and what proxies said; pure.
//! - `conflict`: which resource goes first where two want the same.
//! - `condition`: what Kubernetes keeps of it, in `status.conditions`; pure.
//! - `writer`: writes conditions, within limits.
//! - `ask`, `table`, `command`: `meshcontrol status`.

use std::collections::BTreeMap;

use config::wire::{Name, Remark, Report};
use serde::{Deserialize, Serialize};

pub mod ask;
pub mod command;
pub mod condition;
pub mod conflict;
#[cfg(test)]
pub(crate) mod fixture;
pub mod known;
pub mod resource;
mod table;
pub mod writer;

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

/// The proxies of one replica: what `GET /api/proxies` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxies {
    /// Name of the replica. Each shows the proxies that are connected to it.
    pub replica: String,
    /// Generation of the mesh that proxies are told from; 0 before the first.
    pub generation: u64,
    /// The proxies in the order of their ids.
    pub proxies: Vec<ProxyStatus>,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Which one.
    pub name: Name,
    /// What tells the content in use from others; none if no content was ever good.
    pub version: Option<String>,
    /// Whether it is in use as it is written. If not, its last good form is, if there is one.
    pub accepted: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What in it has no effect because of another resource, which goes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// Proxies that need it.
    pub proxies: usize,
    /// Proxies that acknowledged it as it is.
    pub acknowledged: usize,
    /// Proxies that cannot use it, with what they say: some of them, if they are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Remark>,
}

/// The resources that a replica knows: what `GET /api/resources` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Name of the replica.
    pub replica: String,
    /// Generation of the mesh that this is about; 0 before the first.
    pub generation: u64,
    /// How many resources are in use, by kind; slices of endpoints and secrets are only listed if
    /// something is wrong with them.
    pub counts: BTreeMap<String, usize>,
    /// The resources in the order of their names.
    pub resources: Vec<ResourceStatus>,
}

// === impl ResourceStatus ===

impl ResourceStatus {
    /// Whether there is anything about it that somebody should look at.
    pub fn is_troubled(&self) -> bool {
        !self.accepted || !self.conflicts.is_empty() || !self.rejected.is_empty()
    }
}
