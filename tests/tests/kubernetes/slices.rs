//! Endpoints as a cluster has them, and traffic after them: addresses of pods in slices, and subsets by the
//! labels of these pods.

use serde_json::{Value, json};
use tests::Origin;

use crate::install::{Installation, slice};
use crate::pod::{Call, Pod};

/// Where the pods of the service answer.
const PORT: u16 = 8_080;

/// The service, and rules that tell versions apart.
const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: default}
spec:
  host: shop
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop]
  http:
  - match: [{headers: {canary: {exact: 'yes'}}}]
    route: [{destination: {host: shop, subset: v2}}]
  - route: [{destination: {host: shop, subset: v1}}]
";

/// A service whose pods run, and a pod with a proxy that calls it.
struct Shop {
    /// Both versions.
    stable: Call,
    canary: Call,
    client: Pod,
    servers: Vec<(Pod, Origin)>,
    installation: Installation,
}

// === impl Shop ===

impl Shop {
    /// With a pod of each name and version, none of which is in a slice yet.
    async fn open(servers: &[(&str, &str)]) -> Self {
        let installation = Installation::new().await;
        installation.apply(MESH).await;
        installation
            .apply(&slice("default", "shop", PORT, &[]))
            .await;
        let client = run(&installation, "client", "client", "v1", "true").await;
        let mut running = Vec::new();
        for (name, version) in servers {
            let pod = run(&installation, name, "shop", version, "false").await;
            let origin = pod.answering(PORT);
            running.push((pod, origin));
        }
        let stable = installation.call("default", "shop", "/").await;
        let canary = Call {
            headers: &[("canary", "yes")],
            ..stable.clone()
        };
        Self {
            stable,
            canary,
            client,
            servers: running,
            installation,
        }
    }

    fn endpoint(&self, name: &str, is_ready: bool) -> Value {
        let mut pods = self.servers.iter().map(|(pod, _)| pod);
        let pod = pods.find(|pod| pod.name() == name);
        pod.expect("a pod of the service").endpoint(is_ready)
    }

    /// Makes these all of the endpoints of the service, ready ones.
    async fn has(&self, names: &[&str]) {
        let ready = names.iter().map(|name| self.endpoint(name, true));
        self.has_endpoints(&ready.collect::<Vec<_>>()).await;
    }

    async fn has_endpoints(&self, endpoints: &[Value]) {
        let slice = slice("default", "shop", PORT, endpoints);
        self.installation.apply(&slice).await;
    }

    /// Waits until just these answer.
    async fn serves(&self, stable: &[&str], canary: &[&str]) {
        self.client.gets(&self.stable, stable).await;
        self.client.gets(&self.canary, canary).await;
    }
}

/// Makes a pod and runs it.
async fn run(
    installation: &Installation,
    name: &str,
    app: &str,
    version: &str,
    inject: &str,
) -> Pod {
    let labels = json!({"app": app, "version": version, "sidecar.istio.io/inject": inject});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": app, "image": "shop:1"}]},
    });
    let create = ["create", "-f", "-"];
    installation.kubectl.done(&create, &pod.to_string()).await;
    installation.run("default", name).await
}

#[tokio::test]
async fn traffic_follows_what_is_added_to_a_slice_removed_from_it_and_not_ready_in_it() {
    let shop = Shop::open(&[("a", "v1"), ("b", "v1"), ("c", "v2"), ("d", "v2")]).await;
    shop.serves(&["503"], &["503"]).await;

    shop.has(&["a", "b", "c"]).await;
    shop.serves(&["a", "b"], &["c"]).await;
    shop.has(&["a", "c", "d"]).await;
    shop.serves(&["a"], &["c", "d"]).await;
    let endpoints = [
        shop.endpoint("a", false),
        shop.endpoint("b", true),
        shop.endpoint("c", false),
        shop.endpoint("d", true),
    ];
    shop.has_endpoints(&endpoints).await;
    shop.serves(&["b"], &["d"]).await;

    // A pod that changes its version changes its subset, in the same slice.
    let label = ["label", "pod", "-n", "default", "--overwrite", "d"];
    let label = [&label[..], &["version=v1"]].concat();
    shop.installation.kubectl.done(&label, "").await;
    shop.serves(&["b", "d"], &["503"]).await;

    shop.has(&[]).await;
    shop.serves(&["503"], &["503"]).await;
    shop.has(&["a", "c"]).await;
    shop.serves(&["a"], &["c"]).await;
}

#[tokio::test]
async fn no_endpoint_is_stale_after_the_control_plane_or_the_api_server_was_away() {
    let mut shop = Shop::open(&[("a", "v1"), ("b", "v1"), ("c", "v2")]).await;
    shop.has(&["a", "c"]).await;
    shop.serves(&["a"], &["c"]).await;

    // The control plane is gone while the slice changes.
    shop.installation.kill_control();
    shop.has(&["b", "c"]).await;
    shop.serves(&["a"], &["c"]).await;
    shop.installation.start_control().await;
    shop.serves(&["b"], &["c"]).await;

    // It is cut off from the API server.
    shop.installation.api.shut();
    shop.has(&["a", "c"]).await;
    shop.serves(&["b"], &["c"]).await;
    shop.installation.api.open();
    shop.serves(&["a"], &["c"]).await;

    // It is cut off while history is forgotten, also by the API server itself: its watches expire.
    shop.installation.api.shut();
    shop.has(&["b"]).await;
    shop.installation.cluster.compact().await;
    shop.installation.cluster.kill_api();
    shop.serves(&["a"], &["c"]).await;
    shop.installation.cluster.start_api().await;
    shop.installation.api.open();
    shop.serves(&["b"], &["503"]).await;
    let control = shop.installation.control.as_ref().expect("it runs");
    let metrics = control.metrics().await;
    let expired = [("kind", "EndpointSlice"), ("reason", "expired")];
    let expired = metrics.sum("meshcontrol_watch_failures_total", &expired);
    assert!(expired > 0.0, "the watch did not expire");
}
