//! `AuthorizationPolicy`: who may do what with a workload.

mod attribute;
mod path_template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Metadata;
use super::selector::{LabelSelector, TargetRef};
pub use attribute::{Attribute, KeyError};
pub use path_template::{PathTemplate, TemplateError};

/// Annotation of a policy that is only to be tried: `true` or `false`.
pub const DRY_RUN: &str = "istio.io/dry-run";

/// `security.istio.io` `AuthorizationPolicy` spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationPolicy {
    /// Workloads it is for; unset means all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<LabelSelector>,
    /// One resource it is for.
    pub target_ref: Option<TargetRef>,
    /// Resources it is for.
    pub target_refs: Vec<TargetRef>,
    /// A request matches if one of them does; none, and nothing matches.
    pub rules: Vec<AuthorizationRule>,
    /// What becomes of a request that matches; unset means `ALLOW`.
    pub action: Option<Action>,
    /// Who decides, with action `CUSTOM`.
    pub provider: Option<Provider>,
}

/// What becomes of a request that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// It may pass.
    Allow,
    /// It is refused, whoever else allows it.
    Deny,
    /// It is recorded.
    Audit,
    /// The provider decides.
    Custom,
}

/// An extension provider of the mesh's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Provider {
    /// Its name.
    pub name: String,
}

/// A request matches a rule if all three say so; what is empty says so of every request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationRule {
    /// Who: one of them.
    pub from: Vec<From>,
    /// What: one of them.
    pub to: Vec<To>,
    /// Conditions: all of them.
    pub when: Vec<Condition>,
}

/// One of the sources of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct From {
    /// Required.
    pub source: Option<Source>,
}

/// Who a request is from: all that is written must hold; of a list one value, of a `not` list none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Identities of peers, `cluster.local/ns/default/sa/productpage`.
    pub principals: Vec<String>,
    /// The same, negated.
    pub not_principals: Vec<String>,
    /// `ISS/SUB` of valid tokens.
    pub request_principals: Vec<String>,
    /// The same, negated.
    pub not_request_principals: Vec<String>,
    /// Namespaces of peers.
    pub namespaces: Vec<String>,
    /// The same, negated.
    pub not_namespaces: Vec<String>,
    /// Service accounts of peers, `NAMESPACE/ACCOUNT`, or `ACCOUNT` of the policy's namespace.
    pub service_accounts: Vec<String>,
    /// The same, negated.
    pub not_service_accounts: Vec<String>,
    /// Trust domains of peers.
    pub trust_domains: Vec<String>,
    /// The same, negated.
    pub not_trust_domains: Vec<String>,
    /// Addresses of connections.
    pub ip_blocks: Vec<String>,
    /// The same, negated.
    pub not_ip_blocks: Vec<String>,
    /// Addresses of clients behind trusted proxies.
    pub remote_ip_blocks: Vec<String>,
    /// The same, negated.
    pub not_remote_ip_blocks: Vec<String>,
}

/// One of the operations of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct To {
    /// Required.
    pub operation: Option<Operation>,
}

/// What a request asks for: all that is written must hold; of a list one value, of a `not` list none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Hosts, in any case.
    pub hosts: Vec<String>,
    /// The same, negated.
    pub not_hosts: Vec<String>,
    /// Ports of the workload.
    pub ports: Vec<String>,
    /// The same, negated.
    pub not_ports: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// The same, negated.
    pub not_methods: Vec<String>,
    /// Paths without query, in normal form; `{*}` stands for a segment, `{**}` for any number.
    pub paths: Vec<String>,
    /// The same, negated.
    pub not_paths: Vec<String>,
}

/// A condition on an attribute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// The attribute, such as `request.headers[x-version]`.
    pub key: String,
    /// It must be one of them.
    pub values: Vec<String>,
    /// It must be none of them.
    pub not_values: Vec<String>,
}

// === impl AuthorizationPolicy ===

impl AuthorizationPolicy {
    /// Whether it is for workloads by their labels, and not for resources by name.
    pub fn is_by_selector(&self) -> bool {
        self.target_ref.is_none() && self.target_refs.is_empty()
    }

    /// Whether it is only to be tried: what it would do is counted and logged, and not done.
    pub fn is_dry_run(meta: &Metadata) -> bool {
        let written = meta.annotations.get(DRY_RUN);
        written.is_some_and(|value| truth(value) == Some(true))
    }
}

/// A truth value as annotations spell it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
