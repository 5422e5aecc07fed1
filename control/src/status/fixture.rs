//! What is known in tests: a mesh of these documents, and no proxies.

use std::sync::Arc;

use config::load::parse;
use config::mesh::MeshSettings;
use config::wire::Name;
use prometheus::Registry;
use tokio::time::Instant;

use super::known::Known;
use crate::event::{Event, Object, Refused};
use crate::hub::{Hub, Settings};
use crate::index::Index;

/// Two routes for one host, of which the first goes first.
pub(crate) const TWO_FOR_ONE_HOST: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {hosts: [a.test], http: [{directResponse: {status: 200}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, namespace: shop, creationTimestamp: '2026-01-02T00:00:00Z'}
spec: {hosts: [a.test], http: [{directResponse: {status: 201}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: quiet, namespace: shop}
type: kubernetes.io/tls
stringData: {tls.key: very secret}
";

/// A hub without a mesh.
pub(crate) fn hub() -> Arc<Hub> {
    Hub::new(Settings::default(), &Registry::new()).expect("a registry of its own")
}

/// Tells a hub of a mesh of these documents, and of one that is refused.
pub(crate) fn publish(hub: &Hub, text: &str) {
    let loaded = parse("mesh.yaml", text, "default");
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let resources = loaded.resources.into_iter().map(Object::Resource);
    let refused = Object::Refused(Refused {
        name: Name::new("Gateway", "shop", "bad"),
        reasons: vec!["spec.servers: <b>must</b> be a list".to_owned()],
    });
    let mut index = Index::new(MeshSettings::default());
    index.apply(Event::Everything(resources.chain([refused]).collect()));
    index.apply(Event::Synced);
    let (generation, change) = index.next(Instant::now()).expect("there is news");
    hub.publish(generation, &change);
}

/// What is known of a mesh of these documents.
pub(crate) fn known(text: &str) -> Arc<Known> {
    let hub = hub();
    publish(&hub, text);
    Arc::new(Known::new(hub, "one".to_owned()))
}
