//! Meshes for tests, from YAML as users write it.

use std::sync::Arc;

use config::Resource;
use config::load::parse;
use config::mesh::{MeshSettings, Viewer};
use config::wire::Demand;
use tokio::time::Instant;

use crate::event::{Event, Object};
use crate::index::{Change, Generation, Index};
use crate::scope::Proxy;

/// The resources of a text; the namespace is `default` where none is written.
pub(crate) fn resources(yaml: &str) -> Vec<Arc<Resource>> {
    let loaded = parse("mesh.yaml", yaml, "default");
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    loaded.resources
}

pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    resources(yaml).into_iter().map(Object::Resource).collect()
}

/// An index that was told of a text and nothing else.
pub(crate) fn index(yaml: &str) -> Index {
    let mut index = Index::new(MeshSettings::default());
    index.apply(Event::Everything(objects(yaml)));
    index.apply(Event::Synced);
    index
}

/// The generation that follows from what an index was told.
pub(crate) fn next(index: &mut Index) -> (Arc<Generation>, Change) {
    index.next(Instant::now()).expect("something changed")
}

pub(crate) fn generation(yaml: &str) -> Arc<Generation> {
    next(&mut index(yaml)).0
}

/// A proxy without account, with labels as `key=value`.
pub(crate) fn proxy(namespace: &str, labels: &[&str]) -> Proxy {
    let pairs = labels.iter().filter_map(|label| label.split_once('='));
    Proxy {
        viewer: Viewer {
            namespace: namespace.to_owned(),
            labels: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        },
        name: "web-1".into(),
        account: None,
    }
}

pub(crate) fn demand(text: &str) -> Demand {
    text.parse().expect("a demand")
}
