//! The input, in pieces that keep their comments.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::Input;
use crate::load::split_documents;
use crate::problem::Problem;
use crate::strict;
use crate::yaml;

/// A document of the input.
#[derive(Debug)]
pub(super) struct Document {
    /// Where it was read.
    pub(super) file: Arc<Path>,
    /// Line of the file in which it begins, from 1.
    pub(super) line: u32,
    /// Comments before it, with their line ends.
    pub(super) comments: String,
    /// Its text.
    pub(super) text: String,
    /// Comments after it, if it is the last of its file.
    pub(super) trailing: String,
    /// What the text says.
    pub(super) value: Value,
    /// Namespace, if need be the default one.
    pub(super) namespace: String,
    /// Name.
    pub(super) name: String,
    /// Which retired form it is, if it is one.
    pub(super) retired: Option<Retired>,
}

/// The retired forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retired {
    /// `RbacConfig` or `ClusterRbacConfig`.
    RbacConfig,
    ServiceRole,
    ServiceRoleBinding,
    DestinationPolicy,
    /// `memquota` or a handler with this adapter.
    MemoryQuota,
    /// `redisquota` or a handler with this adapter.
    RedisQuota,
    /// `quota` or an instance of this template.
    Quota,
    QuotaSpec,
    QuotaSpecBinding,
    /// `rule` of Mixer.
    MixerRule,
    /// `Policy` of the API group `authentication`.
    AuthenticationPolicy,
    /// `MeshPolicy` of it.
    MeshPolicy,
    /// One that has no successor, or none that can be found from it; the reason.
    Gone(&'static str),
}

/// A document as far as all kinds are alike.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written<T> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(rename = "status")]
    _status: IgnoredAny,
    spec: T,
}

/// The documents of a file. Lists that hold a retired form are taken apart.
pub(super) fn read(
    input: Input<'_>,
    default_namespace: &str,
) -> Result<Vec<Document>, Vec<Problem>> {
    let text = yaml::normalize(input.text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let file: Arc<Path> = Arc::from(input.path);
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    let mut end = 0;
    for document in split_documents(&text) {
        let begin = document.line as usize - 1;
        let comments = comments(lines.get(end..begin).unwrap_or_default());
        end = begin + document.text.split_inclusive('\n').count();
        match yaml::parse(document.text) {
            Ok(value) => {
                let whole = Document::new(&file, document.line, document.text, value);
                documents.extend(whole.with(comments).parts());
            }
            Err(error) => problems.push(error.problem(&file, document.line)),
        }
    }
    if let Some(last) = documents.last_mut() {
        last.trailing = comments(lines.get(end..).unwrap_or_default());
    }
    for document in &mut documents {
        if document.namespace.is_empty() {
            document.namespace = default_namespace.to_owned();
        }
    }
    match problems.is_empty() {
        true => Ok(documents),
        false => Err(problems),
    }
}

fn comments(lines: &[&str]) -> String {
    let comments = lines
        .iter()
        .filter(|line| line.trim_start().starts_with('#'));
    comments.copied().collect()
}

// === impl Document ===

impl Document {
    fn new(file: &Arc<Path>, line: u32, text: &str, value: Value) -> Self {
        let of_metadata = |name: &str| match value.pointer(&format!("/metadata/{name}")) {
            Some(Value::String(text)) => text.clone(),
            Some(_) | None => String::new(),
        };
        Self {
            file: Arc::clone(file),
            line,
            comments: String::new(),
            text: text.to_owned(),
            trailing: String::new(),
            namespace: of_metadata("namespace"),
            name: of_metadata("name"),
            retired: retired(&value),
            value,
        }
    }

    fn with(mut self, comments: String) -> Self {
        self.comments = comments;
        self
    }

    /// Itself, or the items of a list that holds a retired form.
    fn parts(self) -> Vec<Self> {
        let is_list = text(&self.value, "kind").ends_with("List");
        let items = match self.value.get("items") {
            Some(Value::Array(items)) if is_list => items,
            Some(_) | None => return vec![self],
        };
        if !items.iter().any(|item| retired(item).is_some()) {
            return vec![self];
        }
        let item = |item: &Value| Self::new(&self.file, self.line, &yaml::emit(item), item.clone());
        let mut parts: Vec<Self> = items.iter().map(item).collect();
        if let Some(first) = parts.first_mut() {
            first.comments = self.comments;
        }
        parts
    }

    /// Its `kind`.
    pub(super) fn kind(&self) -> &str {
        text(&self.value, "kind")
    }

    /// Reads its `spec`.
    pub(super) fn spec<T: DeserializeOwned + Default>(&self) -> Result<T, Vec<Problem>> {
        // Empty lines before it give its problems their lines of the file.
        let before = "\n".repeat(self.line as usize - 1);
        let read = strict::parse::<Written<T>>(&self.file, &(before + &self.text));
        read.map(|document| document.value.spec)
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn retired(value: &Value) -> Option<Retired> {
    let group = text(value, "apiVersion");
    let group = group.split('/').next().unwrap_or_default();
    let of_spec = |field| value.pointer("/spec").map_or("", |spec| text(spec, field));
    Some(match (group, text(value, "kind")) {
        ("rbac.istio.io", "RbacConfig" | "ClusterRbacConfig") => Retired::RbacConfig,
        ("rbac.istio.io", "ServiceRole") => Retired::ServiceRole,
        ("rbac.istio.io", "ServiceRoleBinding") => Retired::ServiceRoleBinding,
        ("authentication.istio.io", "Policy") => Retired::AuthenticationPolicy,
        ("authentication.istio.io", "MeshPolicy") => Retired::MeshPolicy,
        ("config.istio.io", kind) => match (kind, of_spec("compiledAdapter")) {
            ("DestinationPolicy", _) => Retired::DestinationPolicy,
            ("RouteRule" | "EgressRule", _) => {
                Retired::Gone("routes by rule: write a VirtualService or a ServiceEntry instead")
            }
            ("QuotaSpec", _) => Retired::QuotaSpec,
            ("QuotaSpecBinding", _) => Retired::QuotaSpecBinding,
            ("memquota", _) | ("handler", "memquota") => Retired::MemoryQuota,
            ("redisquota", _) | ("handler", "redisquota") => Retired::RedisQuota,
            ("rule", _) => Retired::MixerRule,
            ("quota", _) => Retired::Quota,
            ("instance", _) if of_spec("compiledTemplate") == "quota" => Retired::Quota,
            (_, _) => Retired::Gone("was Mixer's and has no successor"),
        },
        (_, _) => return None,
    })
}
