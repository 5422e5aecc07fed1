//! Where proxies are, as the nodes of their pods say.

use serde_json::Value;
use tests::yaml::Service;
use tests::{Control, Http1, Origin, Port, Proxy, eventually};

use crate::definitions_of_chart;

const HOST: &str = "shop.test";

/// A node in a zone, and a pod that runs on it.
fn placed(namespace: &str, zone: &str) -> String {
    format!(
        "apiVersion: v1
kind: Node
metadata:
  name: {namespace}
  labels: {{topology.kubernetes.io/region: north, topology.kubernetes.io/zone: {zone}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-1, namespace: {namespace}, labels: {{app: web}}}}
spec:
  nodeName: {namespace}
  automountServiceAccountToken: false
  containers: [{{name: web, image: web}}]
"
    )
}

/// What the proxy of that pod needs: a listener, and a service with an endpoint near by and one far away.
fn mesh(namespace: &str, port: &Port, [near, far]: [&Origin; 2]) -> String {
    let service = Service::new(HOST)
        .endpoint(near.addr(), "locality: north/n1")
        .endpoint(far.addr(), "locality: north/n2");
    let service = service.to_string().replace(
        "metadata: {",
        &format!("metadata: {{namespace: {namespace}, "),
    );
    format!(
        "{service}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: {namespace}}}
spec: {{host: {HOST}, trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 5}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {namespace}}}
spec:
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
"
    )
}

#[tokio::test]
async fn a_proxy_prefers_the_zone_of_the_node_that_its_pod_is_on() {
    let cluster = definitions_of_chart::cluster().await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    cluster.account(&apps, "default").await;
    let kubectl = cluster.kubectl();
    let (near, far) = (Origin::named("near").await, Origin::named("far").await);
    let port = Port::reserve();
    kubectl.apply(&placed(&apps, "n1")).await;
    kubectl.apply(&mesh(&apps, &port, [&near, &far])).await;
    let arguments = ["--plain-addr", "127.0.0.1:0"];
    let control = Control::in_cluster(&cluster.admin(), &own, &arguments).await;
    let url = format!("http://{}", control.plain.expect("plain text"));
    let labels = [
        "--namespace",
        &apps,
        "--labels",
        "app=web",
        "--pod",
        "web-1",
    ];

    let proxy = Proxy::follow(&url, &labels).await;

    let reply = Http1::connect(port.addr()).await.get(HOST, "/").await;
    assert_eq!(reply.brief(), (200, "near"));
    let first = async || {
        let destinations = proxy.admin("/destinations").await;
        let all = destinations.as_array().cloned().unwrap_or_default();
        let shop = all.iter().find(|it| it["host"] == HOST);
        shop.map(|it| it["groups"][0]["endpoints"].clone())
            .unwrap_or_default()
    };
    let only = |origin: &Origin| Value::from(vec![origin.addr().to_string()]);
    assert_eq!(first().await, only(&near));

    // What the node says counts, also later.
    kubectl.apply(&placed(&apps, "n2")).await;
    let expected = only(&far);
    eventually("the other zone", first, |seen| *seen == expected).await;
}
