//! Real proxies behind a real control plane in front of a real API server: what `kubectl` does is what
//! they do.

use tests::cluster::Kubectl;
use tests::yaml::Service;
use tests::{Cluster, Control, Http1, Origin, Port, Proxy, chart, eventually};

use crate::definitions_of_chart;

/// A host that nobody but these scenarios has.
const HOST: &str = "shop.test";

/// A proxy beside a workload `app`, with an outbound listener for all hosts.
struct Workload {
    port: Port,
    _proxy: Proxy,
}

impl Workload {
    /// One that follows control planes, and whose `Sidecar` is applied.
    async fn start(urls: &str, kubectl: &Kubectl, namespace: &str, app: &str) -> Self {
        let port = Port::reserve();
        let sidecar = format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {app}, namespace: {namespace}}}
spec:
  workloadSelector: {{labels: {{app: {app}}}}}
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
"
        );
        kubectl.apply(&sidecar).await;
        let labels = format!("app={app}");
        let arguments = ["--namespace", namespace, "--labels", &labels];
        let proxy = Proxy::follow(urls, &arguments).await;
        Self {
            port,
            _proxy: proxy,
        }
    }

    /// Waits until requests for the host get this answer.
    async fn gets(&self, answer: (u16, &str)) {
        let get = async || {
            let Ok(tcp) = tokio::net::TcpStream::connect(self.port.addr()).await else {
                return (0, String::new());
            };
            drop(tcp);
            let mut client = Http1::connect(self.port.addr()).await;
            let reply = client.get(HOST, "/").await;
            let (status, text) = reply.brief();
            (status, text.to_owned())
        };
        let is_answer = |seen: &(u16, String)| seen.0 == answer.0 && seen.1.contains(answer.1);
        eventually(&format!("{answer:?}"), get, is_answer).await;
    }
}

/// A control plane of its own namespace that may be spoken to in plain text.
async fn control(cluster: &Cluster, namespace: &str) -> Control {
    let arguments = ["--plain-addr", "127.0.0.1:0"];
    Control::in_cluster(&cluster.admin(), namespace, &arguments).await
}

fn url(control: &Control) -> String {
    format!("http://{}", control.plain.expect("plain text"))
}

/// `kubectl` with arguments, in a namespace.
async fn within(kubectl: &Kubectl, namespace: &str, arguments: &[&str], input: &str) {
    let arguments = [arguments, &["-n", namespace]].concat();
    kubectl.done(&arguments, input).await;
}

/// The service of the host, at an origin.
fn service(origin: &Origin) -> String {
    Service::new(HOST).at(origin.addr()).to_string()
}

/// A rule that answers for the host.
fn answers(text: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: answers}}
spec:
  hosts: [{HOST}]
  http:
  - directResponse: {{status: 203, body: {{string: {text}}}}}
"
    )
}

#[tokio::test]
async fn two_proxies_follow_what_is_applied_deleted_and_made_anew_in_any_order() {
    let cluster = definitions_of_chart::cluster().await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let kubectl = cluster.kubectl();
    let (first, second) = (Origin::named("first").await, Origin::named("second").await);
    let control = control(cluster, &own).await;
    let workloads = [
        Workload::start(&url(&control), &kubectl, &apps, "one").await,
        Workload::start(&url(&control), &kubectl, &apps, "two").await,
    ];
    let apply = ["apply", "-f", "-"];
    let everybody = async |answer: (u16, &str)| {
        for workload in &workloads {
            workload.gets(answer).await;
        }
    };

    within(&kubectl, &apps, &apply, &service(&first)).await;
    everybody((200, "first")).await;
    within(&kubectl, &apps, &apply, &service(&second)).await;
    everybody((200, "second")).await;
    within(&kubectl, &apps, &apply, &answers("rule")).await;
    everybody((203, "rule")).await;

    // The service goes before what routes to it, and comes after it.
    within(&kubectl, &apps, &["delete", "serviceentry", "--all"], "").await;
    let delete_rules = ["delete", "virtualservice", "--all"];
    within(&kubectl, &apps, &delete_rules, "").await;
    everybody((404, "")).await;
    within(&kubectl, &apps, &apply, &answers("again")).await;
    within(&kubectl, &apps, &apply, &service(&first)).await;
    everybody((203, "again")).await;
    within(&kubectl, &apps, &delete_rules, "").await;
    everybody((200, "first")).await;
}

#[tokio::test]
async fn proxies_serve_through_every_outage_and_converge_after_it() {
    let mut cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    kubectl
        .apply_definitions(&chart::folder().join("crds"))
        .await;
    let (own, apps) = (
        cluster.namespace("plane").await,
        cluster.namespace("apps").await,
    );
    let (before, after) = (Origin::named("before").await, Origin::named("after").await);
    let (first, second) = (control(&cluster, &own).await, control(&cluster, &own).await);
    let urls = format!("{},{}", url(&first), url(&second));
    let workload = Workload::start(&urls, &kubectl, &apps, "one").await;
    let apply = ["apply", "-f", "-"];
    within(&kubectl, &apps, &apply, &service(&before)).await;
    workload.gets((200, "before")).await;

    // No API server, and when it is back its history is gone.
    cluster.kill_api();
    workload.gets((200, "before")).await;
    cluster.start_api().await;
    cluster.compact().await;
    within(&kubectl, &apps, &apply, &service(&after)).await;
    workload.gets((200, "after")).await;

    // No etcd.
    cluster.kill_etcd();
    workload.gets((200, "after")).await;
    cluster.start_etcd();
    let get = ["get", "namespace", "default"];
    let answers_again = async || kubectl.run(&get, "").await.success;
    eventually("the API server", answers_again, |it| *it).await;
    within(&kubectl, &apps, &apply, &answers("rule")).await;
    workload.gets((203, "rule")).await;

    // One of the control planes is gone, then the other.
    drop(first);
    within(&kubectl, &apps, &apply, &answers("other")).await;
    workload.gets((203, "other")).await;
    drop(second);
    workload.gets((203, "other")).await;
}
