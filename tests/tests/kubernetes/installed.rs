//! The mesh as the chart installs it, with the real control plane in place of its pods: the API server
//! finds the webhooks by their Service, and knows them by what the control plane wrote.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::{Value, json};
use tests::chart::{self, NAMESPACE, render, under_chart_rbac};
use tests::cluster::Kubectl;
use tests::{Cluster, Control, eventually};

/// What the chart is rendered with.
const SETTINGS: [&str; 0] = [];

/// An address of this machine that is not loopback: API servers take no other for an endpoint.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent; it says by which address that network is reached.
    socket
        .connect("192.0.2.1:9")
        .expect("a network besides loopback");
    let address = socket.local_addr().expect("it is bound").ip();
    assert!(
        !address.is_loopback(),
        "there is no network besides loopback"
    );
    address
}

/// What the chart has of these kinds.
fn of_kinds(kinds: &[&str]) -> String {
    let mut objects = render(&SETTINGS);
    objects.retain(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// The Service of the webhooks, and where it leads.
fn service(webhooks: SocketAddr) -> String {
    let metadata = json!({
        "name": "meshcontrol",
        "namespace": NAMESPACE,
        "labels": {"kubernetes.io/service-name": "meshcontrol"},
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"name": "webhooks", "port": 443, "targetPort": webhooks.port()}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [{"addresses": [webhooks.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "webhooks", "port": webhooks.port(), "protocol": "TCP"}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]}).to_string()
}

async fn tried(kubectl: &Kubectl, yaml: &str) -> String {
    let arguments = ["apply", "--dry-run=server", "-f", "-"];
    kubectl.run(&arguments, yaml).await.stderr
}

fn route(timeout: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews}}}}], timeout: {timeout}}}]}}
"
    )
}

#[tokio::test]
async fn what_the_chart_installs_injects_pods_and_refuses_mistakes() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    kubectl
        .apply_definitions(&chart::folder().join("crds"))
        .await;
    let account = under_chart_rbac(&cluster, &SETTINGS).await;
    let webhooks = format!("{}:0", own_address());
    let control = Control::in_cluster(&account, NAMESPACE, &["--webhook-addr", &webhooks]).await;
    let webhooks = control.webhooks.expect("it is in a cluster");
    kubectl.apply(&service(webhooks)).await;
    let both = [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    kubectl.apply(&of_kinds(&both)).await;

    // The control plane tells the API server whom to believe, under the rights of the chart.
    let wrong = route("soon");
    let refused = eventually(
        "the webhooks are believed",
        async || tried(&kubectl, &wrong).await,
        |said| said.contains("denied the request"),
    )
    .await;
    let told = "VirtualService default/reviews: spec.http[0].timeout: must be a duration";
    assert!(refused.contains(told), "{refused}");
    assert_eq!(tried(&kubectl, &route("5s")).await, "");

    let namespace = cluster.namespace("shop").await;
    let pod = |labels: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "reviews", "namespace": namespace, "labels": labels},
            "spec": {"containers": [{"name": "reviews", "image": "reviews:1"}]},
        })
    };
    let has_proxy = async |pod: Value| {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let created = kubectl.done(&arguments, &pod.to_string()).await;
        created.contains("\"istio-proxy\"")
    };
    assert!(!has_proxy(pod(json!({"app": "reviews"}))).await);
    assert!(has_proxy(pod(json!({"sidecar.istio.io/inject": "true"}))).await);
    let label = ["label", "namespace", &namespace, "istio-injection=enabled"];
    kubectl.done(&label, "").await;
    assert!(has_proxy(pod(json!({"app": "reviews"}))).await);
    assert!(!has_proxy(pod(json!({"sidecar.istio.io/inject": "false"}))).await);
    let counted = control.metrics().await;
    let labels = [("webhook", "inject"), ("result", "changed")];
    let changed = counted.sum("meshcontrol_admission_reviews_total", &labels);
    assert!(changed >= 2.0, "{changed}");
}
