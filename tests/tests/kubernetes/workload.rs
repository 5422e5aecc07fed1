//! Workloads with a real proxy beside them that follows a real control plane, all on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::client::get;
use tests::cluster::Kubectl;
use tests::yaml::Service;
use tests::{Cluster, Control, Http1, Origin, Port, Proxy, eventually, soon};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// A host that nobody but these scenarios has.
pub(crate) const HOST: &str = "shop.test";
/// Time from one request of [`Workload::asking`] to the next.
const PACE: Duration = Duration::from_millis(10);

/// A proxy beside a workload `app`, with an outbound listener for all hosts.
pub(crate) struct Workload {
    port: Port,
    proxy: Proxy,
}

// === impl Workload ===

impl Workload {
    /// One that follows control planes, and whose `Sidecar` is applied.
    pub(crate) async fn start(urls: &str, kubectl: &Kubectl, namespace: &str, app: &str) -> Self {
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
        Self { port, proxy }
    }

    /// Waits until requests for the host get this answer.
    pub(crate) async fn gets(&self, answer: (u16, &str)) {
        let get = async || {
            let Ok(tcp) = tokio::net::TcpStream::connect(self.port.addr()).await else {
                return (0, String::new());
            };
            let reply = Http1::over(tcp).await.get(HOST, "/").await;
            let (status, text) = reply.brief();
            (status, text.to_owned())
        };
        let is_answer = |seen: &(u16, String)| seen.0 == answer.0 && seen.1.contains(answer.1);
        eventually(&format!("{answer:?}"), get, is_answer).await;
    }

    /// Asks for the host from now on, one request after another.
    pub(crate) fn asking(&self) -> Asking {
        let (over, is_over) = watch::channel(false);
        let task = tokio::spawn(ask(self.port.addr(), is_over));
        Asking { over, task }
    }

    /// The control plane that it follows now; nothing if there is none.
    pub(crate) async fn follows(&self) -> Value {
        let config = self.proxy.admin("/config").await;
        config["control"]["connected"].clone()
    }
}

/// Requests under way.
pub(crate) struct Asking {
    over: watch::Sender<bool>,
    task: JoinHandle<BTreeMap<u16, usize>>,
}

// === impl Asking ===

impl Asking {
    /// Ends it; each request must have been answered well.
    pub(crate) async fn lost_nothing(self) {
        self.over.send_replace(true);
        let answers = soon("the last answer", self.task).await;
        let answers = answers.expect("it does not panic");
        eprintln!("answers meanwhile, by status: {answers:?}");
        let is_well = |status: &u16| (200..300).contains(status);
        assert!(!answers.is_empty(), "nothing was asked");
        assert!(answers.keys().all(is_well), "{answers:?}");
    }
}

/// How many answers had each status; 0 stands for none at all.
async fn ask(addr: SocketAddr, over: watch::Receiver<bool>) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    let mut pace = interval(PACE);
    let mut client = Http1::connect(addr).await;
    while !*over.borrow() {
        pace.tick().await;
        let status = match client.try_send(get(HOST, "/")).await {
            Ok(reply) => reply.status.as_u16(),
            Err(_) => {
                client = Http1::connect(addr).await;
                0
            }
        };
        *answers.entry(status).or_default() += 1;
    }
    answers
}

/// A control plane of its own namespace that may be spoken to in plain text.
pub(crate) async fn control(cluster: &Cluster, namespace: &str, more: &[&str]) -> Control {
    let plain = ["--plain-addr", "127.0.0.1:0"];
    let arguments = match more.contains(&plain[0]) {
        true => more.to_vec(),
        false => [&plain[..], more].concat(),
    };
    Control::in_cluster(&cluster.admin(), namespace, &arguments).await
}

pub(crate) fn url(control: &Control) -> String {
    format!("http://{}", control.plain.expect("plain text"))
}

/// `kubectl` with arguments, in a namespace.
pub(crate) async fn within(kubectl: &Kubectl, namespace: &str, arguments: &[&str], input: &str) {
    let arguments = [arguments, &["-n", namespace]].concat();
    kubectl.done(&arguments, input).await;
}

/// The service of the host, at an origin.
pub(crate) fn service(origin: &Origin) -> String {
    Service::new(HOST).at(origin.addr()).to_string()
}

/// A rule that answers for the host.
pub(crate) fn answers(text: &str) -> String {
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
