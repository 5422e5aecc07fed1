//! The kinds of `rbac.istio.io`, field by field, under all spellings that were valid.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `RbacConfig` and `ClusterRbacConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RbacConfig {
    pub(super) mode: Option<Mode>,
    pub(super) inclusion: Named,
    pub(super) exclusion: Named,
    #[serde(alias = "enforcement_mode")]
    pub(super) enforcement_mode: Option<Enforcement>,
}

/// For whom access is controlled; unset means `OFF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Mode {
    Off,
    On,
    OnWithInclusion,
    OnWithExclusion,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Named {
    pub(super) services: Vec<String>,
    pub(super) namespaces: Vec<String>,
    #[serde(alias = "workload_selectors")]
    pub(super) workload_selectors: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Enforcement {
    Enforced,
    Permissive,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceRole {
    pub(super) rules: Vec<AccessRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AccessRule {
    pub(super) services: Vec<String>,
    pub(super) hosts: Vec<String>,
    #[serde(alias = "not_hosts")]
    pub(super) not_hosts: Vec<String>,
    pub(super) paths: Vec<String>,
    #[serde(alias = "not_paths")]
    pub(super) not_paths: Vec<String>,
    pub(super) methods: Vec<String>,
    #[serde(alias = "not_methods")]
    pub(super) not_methods: Vec<String>,
    pub(super) ports: Vec<u32>,
    #[serde(alias = "not_ports")]
    pub(super) not_ports: Vec<u32>,
    pub(super) constraints: Vec<Constraint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Constraint {
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceRoleBinding {
    pub(super) subjects: Vec<Subject>,
    pub(super) role_ref: RoleRef,
    pub(super) role: String,
    pub(super) actions: Vec<AccessRule>,
    pub(super) mode: Option<Enforcement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RoleRef {
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subject {
    pub(super) user: String,
    pub(super) names: Vec<String>,
    #[serde(alias = "not_names")]
    pub(super) not_names: Vec<String>,
    pub(super) group: String,
    pub(super) groups: Vec<String>,
    #[serde(alias = "not_groups")]
    pub(super) not_groups: Vec<String>,
    pub(super) namespaces: Vec<String>,
    #[serde(alias = "not_namespaces")]
    pub(super) not_namespaces: Vec<String>,
    pub(super) ips: Vec<String>,
    #[serde(alias = "not_ips")]
    pub(super) not_ips: Vec<String>,
    pub(super) properties: BTreeMap<String, String>,
}
