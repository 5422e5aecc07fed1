//! `metadata` of a document.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::decode::path::Path;
use crate::decode::{Report, Unknown, decode};
use crate::resource::Metadata;

/// All of Kubernetes' object metadata; the second half is accepted and has no meaning here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectMeta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    creation_timestamp: Option<String>,

    #[serde(rename = "generateName")]
    _generate_name: IgnoredAny,
    #[serde(rename = "selfLink")]
    _self_link: IgnoredAny,
    #[serde(rename = "uid")]
    _uid: IgnoredAny,
    #[serde(rename = "resourceVersion")]
    _resource_version: IgnoredAny,
    #[serde(rename = "generation")]
    _generation: IgnoredAny,
    #[serde(rename = "deletionTimestamp")]
    _deletion_timestamp: IgnoredAny,
    #[serde(rename = "deletionGracePeriodSeconds")]
    _deletion_grace_period_seconds: IgnoredAny,
    #[serde(rename = "ownerReferences")]
    _owner_references: IgnoredAny,
    #[serde(rename = "finalizers")]
    _finalizers: IgnoredAny,
    #[serde(rename = "managedFields")]
    _managed_fields: IgnoredAny,
    #[serde(rename = "clusterName")]
    _cluster_name: IgnoredAny,
}

/// Reads `metadata` of the document `map` at `path`; its problems go to `report`.
pub(super) fn read(
    map: &Map<String, Value>,
    path: &Path<'_>,
    default_namespace: &str,
    unknown: Unknown,
    report: &Report,
) -> Metadata {
    let path = Path::Key(path, "metadata");
    let absent = Value::Object(Map::new());
    let value = map
        .get("metadata")
        .filter(|value| !value.is_null())
        .unwrap_or(&absent);
    let meta: ObjectMeta = decode(value, &path, unknown, report).unwrap_or_default();
    let name_path = Path::Key(&path, "name");
    if meta.name.is_empty() && value.is_object() && !report.overshadows(&name_path.segments()) {
        report.error(&name_path, "is required");
    }
    let namespace = if meta.namespace.is_empty() {
        default_namespace.to_owned()
    } else {
        meta.namespace
    };
    Metadata {
        name: meta.name,
        namespace,
        labels: meta.labels,
        annotations: meta.annotations,
        creation_timestamp: meta.creation_timestamp,
    }
}
