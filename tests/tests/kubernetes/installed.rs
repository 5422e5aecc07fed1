//! The mesh as the chart installs it, with the real control plane in place of its pods: the API server
//! finds the webhooks by their Service, and knows them by what the control plane wrote.

use serde_json::{Value, json};
use tests::chart::{self, NAMESPACE, under_chart_rbac};
use tests::cluster::Kubectl;
use tests::{Cluster, Control, eventually};

use crate::install::{SETTINGS, WEBHOOKS, of_kinds, own_address, service};

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
    kubectl.apply(&of_kinds(&WEBHOOKS)).await;

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
