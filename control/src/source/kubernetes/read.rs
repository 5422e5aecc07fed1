//! Objects of the API server as objects of the mesh. Only what the mesh needs is taken over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use config::wire::{self, Name};
use serde::Deserialize;
use serde_json::Value;

use super::kind::{Form, Kind};
use crate::event::{Node, Object, Pod, Refused};

/// Annotations that are written by tools, change with every object and mean nothing here. The first
/// is a copy of the whole object, of a secret too.
const TOOLS_ANNOTATIONS: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "endpoints.kubernetes.io/last-change-trigger-time",
];
/// Types of secrets that may hold certificates for Gateways.
const SECRET_TYPES: [&str; 2] = ["kubernetes.io/tls", "Opaque"];
/// Entries of secrets that Gateways use.
const SECRET_ENTRIES: [&str; 6] = ["tls.crt", "tls.key", "cert", "key", "ca.crt", "cacert"];
/// Most characters, in Base64, that a secret may have in these entries: hundreds of certificates.
const SECRET_CHARS_MAX: usize = 256 * 1024;

/// What became of an object.
#[derive(Debug)]
pub(super) enum Read {
    /// It is of the mesh, or should be.
    Object(Object),
    /// It is none of the mesh's business.
    NotOurs(Name),
}

/// What an object is called. Nodes are in no namespace, whatever they say.
pub(super) fn name(kind: &Kind, value: &Value) -> Name {
    let text = |field| value["metadata"][field].as_str().unwrap_or_default();
    let namespace = match kind.form {
        Form::Node => "",
        Form::Resource | Form::MeshConfig | Form::Secret | Form::Pod => text("namespace"),
    };
    Name::new(kind.name, namespace, text("name"))
}

/// Reads an object.
pub(super) fn object(kind: &Kind, mut value: Value) -> Read {
    let name = name(kind, &value);
    Read::Object(match kind.form {
        Form::Pod => Object::Pod(pod(&name, &value)),
        Form::Node => Object::Node(node(&name, &value)),
        Form::Secret => match strip_secret(&mut value) {
            Secret::Kept => resource(name, value),
            Secret::TooLarge(chars) => refused(
                name,
                format!(
                    "has {chars} characters of certificates, at most {SECRET_CHARS_MAX} are used"
                ),
            ),
            Secret::NotOurs => return Read::NotOurs(name),
        },
        Form::Resource | Form::MeshConfig => resource(name, value),
    })
}

fn resource(name: Name, mut value: Value) -> Object {
    let annotations = value.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !TOOLS_ANNOTATIONS.contains(&name.as_str()));
    }
    let received = wire::accept(&name, &value);
    if !received.skipped.is_empty() {
        // The definition in the cluster is newer than this program.
        tracing::info!(resource = %name, skipped = ?received.skipped, "fields not known");
    }
    match received.resource {
        Some(resource) => Object::Resource(resource),
        None => Object::Refused(Refused {
            name,
            reasons: received.refused,
        }),
    }
}

fn refused(name: Name, reason: String) -> Object {
    Object::Refused(Refused {
        name,
        reasons: vec![reason],
    })
}

/// What there is of a secret once everything that no Gateway uses is taken away.
enum Secret {
    Kept,
    TooLarge(usize),
    NotOurs,
}

fn strip_secret(value: &mut Value) -> Secret {
    let kind = value["type"].as_str().unwrap_or("Opaque");
    if !SECRET_TYPES.contains(&kind) {
        return Secret::NotOurs;
    }
    let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) else {
        return Secret::NotOurs;
    };
    data.retain(|name, _| SECRET_ENTRIES.contains(&name.as_str()));
    let chars = data.values().filter_map(Value::as_str).map(str::len).sum();
    match chars {
        0 => Secret::NotOurs,
        chars if chars > SECRET_CHARS_MAX => Secret::TooLarge(chars),
        _ => Secret::Kept,
    }
}

/// As much of a pod as is needed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodObject {
    metadata: Labelled,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Labelled {
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    service_account_name: String,
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    #[serde(rename = "podIP")]
    address: Option<String>,
    #[serde(rename = "podIPs")]
    addresses: Vec<PodAddress>,
}

#[derive(Deserialize)]
struct PodAddress {
    ip: String,
}

fn pod(name: &Name, value: &Value) -> Pod {
    let pod = PodObject::deserialize(value).unwrap_or_default();
    let addresses = pod.status.addresses.iter().map(|it| it.ip.as_str());
    let mut addresses: Vec<IpAddr> = addresses.filter_map(|it| it.parse().ok()).collect();
    if addresses.is_empty() {
        let only = pod.status.address.as_deref();
        addresses.extend(only.and_then(|it| it.parse::<IpAddr>().ok()));
    }
    Pod {
        namespace: Arc::clone(&name.namespace),
        name: Arc::clone(&name.name),
        labels: pod.metadata.labels,
        service_account: pod.spec.service_account_name,
        node: pod.spec.node_name.into(),
        addresses,
    }
}

fn node(name: &Name, value: &Value) -> Node {
    let label = |label: &str| {
        let label = value["metadata"]["labels"][label].as_str();
        label.unwrap_or_default().to_owned()
    };
    Node {
        name: Arc::clone(&name.name),
        region: label("topology.kubernetes.io/region"),
        zone: label("topology.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
    }
}

#[cfg(test)]
mod tests;
