//! Resources for tests, from YAML as users write it.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Mesh, MeshSettings, Viewer};
use crate::resource::{Metadata, Resource, Source, Spec};

/// The resources of a text of several documents; the namespace is `default` if none is given.
pub(crate) fn resources(yaml: &str) -> Vec<Arc<Resource>> {
    yaml.split("\n---\n")
        .map(|document| Arc::new(resource(document)))
        .collect()
}

/// A mesh of the resources of a text, with default settings.
pub(crate) fn mesh(yaml: &str) -> Mesh {
    Mesh::new(&resources(yaml), MeshSettings::default())
}

/// A proxy in a namespace, with labels as `key=value`.
pub(crate) fn viewer(namespace: &str, labels: &[&str]) -> Viewer {
    let pairs = labels
        .iter()
        .map(|label| label.split_once('=').expect("key=value"));
    Viewer {
        namespace: namespace.to_owned(),
        labels: pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn resource(document: &str) -> Resource {
    let document = crate::yaml::parse(document).expect("YAML");
    let meta = &document["metadata"];
    let text = |key: &str| meta[key].as_str().map(str::to_owned);
    Resource {
        meta: Metadata {
            name: text("name").expect("name"),
            namespace: text("namespace").unwrap_or_else(|| "default".to_owned()),
            labels: read(&meta["labels"]),
            annotations: read(&meta["annotations"]),
            creation_timestamp: text("creationTimestamp"),
        },
        source: Source {
            file: Path::new("test.yaml").into(),
            line: 1,
        },
        spec: spec(&document),
    }
}

fn spec(document: &Value) -> Spec {
    let spec = &document["spec"];
    match document["kind"].as_str().expect("kind") {
        "MeshConfig" => Spec::MeshConfig(read(spec)),
        "AuthorizationPolicy" => Spec::AuthorizationPolicy(read(spec)),
        "PeerAuthentication" => Spec::PeerAuthentication(read(spec)),
        "VirtualService" => Spec::VirtualService(read(spec)),
        "DestinationRule" => Spec::DestinationRule(read(spec)),
        "Gateway" => Spec::Gateway(read(spec)),
        "ServiceEntry" => Spec::ServiceEntry(read(spec)),
        "WorkloadEntry" => Spec::WorkloadEntry(read(spec)),
        "Sidecar" => Spec::Sidecar(read(spec)),
        "RequestAuthentication" => Spec::RequestAuthentication(read(spec)),
        "RateLimitPolicy" => Spec::RateLimitPolicy(read(spec)),
        "Service" => Spec::Service(read(document)),
        "EndpointSlice" => Spec::EndpointSlice(read(document)),
        kind => panic!("unknown kind {kind}"),
    }
}

fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    if value.is_null() {
        return T::default();
    }
    serde_json::from_value(value.clone()).expect("fixture")
}
