//! The kinds of Mixer's quotas, field by field, as a kind of their own and as handler or instance.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::workloads::parts;

/// `memquota`, `redisquota`, or a handler with one of these adapters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Handler {
    #[serde(rename = "compiledAdapter")]
    _compiled_adapter: String,
    params: HandlerParams,
    quotas: Vec<Amount>,
    #[serde(rename = "minDeduplicationDuration")]
    _min_deduplication_duration: Option<String>,
    #[serde(rename = "redisServerUrl")]
    _redis_server_url: Option<String>,
    #[serde(rename = "connectionPoolSize")]
    _connection_pool_size: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HandlerParams {
    quotas: Vec<Amount>,
    #[serde(rename = "minDeduplicationDuration")]
    _min_deduplication_duration: Option<String>,
    #[serde(rename = "redisServerUrl")]
    _redis_server_url: Option<String>,
    #[serde(rename = "connectionPoolSize")]
    _connection_pool_size: Option<u64>,
}

/// How much of a quota there is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Amount {
    pub(super) name: String,
    pub(super) max_amount: u64,
    pub(super) valid_duration: Option<String>,
    #[serde(rename = "bucketDuration")]
    _bucket_duration: Option<String>,
    #[serde(rename = "rateLimitAlgorithm")]
    _rate_limit_algorithm: Option<String>,
    pub(super) overrides: Vec<Overridden>,
}

/// Another amount for some dimensions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Overridden {
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) max_amount: u64,
    pub(super) valid_duration: Option<String>,
}

/// `quota`, or an instance of this template.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Instance {
    #[serde(rename = "compiledTemplate")]
    _compiled_template: String,
    params: InstanceParams,
    dimensions: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InstanceParams {
    dimensions: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct QuotaSpec {
    pub(super) rules: Vec<QuotaRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct QuotaRule {
    #[serde(rename = "match")]
    pub(super) matches: Vec<Value>,
    pub(super) quotas: Vec<Charge>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Charge {
    pub(super) quota: String,
    pub(super) charge: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct QuotaSpecBinding {
    pub(super) quota_specs: Vec<Reference>,
    pub(super) services: Vec<Reference>,
}

/// Something by name, perhaps of another namespace.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reference {
    pub(super) name: String,
    namespace: String,
    service: String,
}

/// `rule`: which handler gets which instances.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    #[serde(rename = "match")]
    pub(super) condition: String,
    pub(super) actions: Vec<RuleAction>,
    #[serde(rename = "requestHeaderOperations")]
    _request_header_operations: Vec<Value>,
    #[serde(rename = "responseHeaderOperations")]
    _response_header_operations: Vec<Value>,
    #[serde(rename = "sampling")]
    _sampling: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuleAction {
    #[serde(rename = "handler")]
    _handler: String,
    pub(super) instances: Vec<String>,
    #[serde(rename = "name")]
    _name: String,
}

// === impl Handler ===

impl Handler {
    pub(super) fn quotas(&self) -> &[Amount] {
        match self.quotas.is_empty() {
            true => &self.params.quotas,
            false => &self.quotas,
        }
    }
}

// === impl Instance ===

impl Instance {
    pub(super) fn dimensions(&self) -> &BTreeMap<String, String> {
        match self.dimensions.is_empty() {
            true => &self.params.dimensions,
            false => &self.dimensions,
        }
    }
}

// === impl Reference ===

impl Reference {
    /// Name and namespace of a service.
    pub(super) fn parts<'r>(&'r self, home: &'r str) -> (&'r str, &'r str) {
        match self.service.is_empty() {
            true => (&self.name, self.namespace_or(home)),
            false => parts(&self.service, home),
        }
    }

    pub(super) fn namespace_or<'r>(&'r self, home: &'r str) -> &'r str {
        match self.namespace.is_empty() {
            true => home,
            false => &self.namespace,
        }
    }
}
