//! What the chart has, put into a cluster around a control plane that runs outside of it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::chart::{self, NAMESPACE, render, under_chart_rbac};
use tests::cluster::Kubectl;
use tests::{Cluster, Control, Gate, eventually};

use crate::node::Node;
use crate::pod::{Call, Pod};

/// What the chart is rendered with.
pub(crate) const SETTINGS: [&str; 0] = [];
/// Kinds by which the API server is told whom to ask.
pub(crate) const WEBHOOKS: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];
/// What every test asks the webhooks to refuse.
const WRONG: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong, namespace: default}
spec: {hosts: [wrong], http: [{route: [{destination: {host: wrong}}], timeout: soon}]}
";

/// An address of this machine that is not loopback: API servers take no other for an endpoint.
pub(crate) fn own_address() -> IpAddr {
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
pub(crate) fn of_kinds(kinds: &[&str]) -> String {
    let mut objects = render(&SETTINGS);
    objects.retain(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// The Service of the webhooks, and where it leads.
pub(crate) fn service(webhooks: SocketAddr) -> String {
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

/// A cluster with the mesh, whose pods run.
pub(crate) struct Installation {
    pub(crate) control: Option<Control>,
    pub(crate) node: Node,
    pub(crate) kubectl: Kubectl,
    /// Between the control plane and the API server.
    pub(crate) api: Gate,
    /// By which the control plane reaches the API server, with the rights of the chart.
    kubeconfig: PathBuf,
    pub(crate) cluster: Cluster,
}

// === impl Installation ===

impl Installation {
    /// One with nothing in it but the mesh, whose webhooks are asked.
    pub(crate) async fn new() -> Self {
        let cluster = Cluster::start().await;
        let kubectl = cluster.kubectl();
        let definitions = chart::folder().join("crds");
        kubectl.apply_definitions(&definitions).await;
        let account = under_chart_rbac(&cluster, &SETTINGS).await;
        let api = Gate::before(cluster.api_addr()).await;
        let kubeconfig = cluster.kubeconfig_at(&account, api.addr());
        let control = control(&kubeconfig, &kubectl).await;
        kubectl.apply(&of_kinds(&WEBHOOKS)).await;
        let refused = async || kubectl.run(&["apply", "-f", "-"], WRONG).await.stderr;
        let is_asked = |said: &String| said.contains("denied the request");
        eventually("the webhooks are asked", refused, is_asked).await;
        cluster.account("default", "default").await;
        Self {
            node: Node::new(control.addr),
            control: Some(control),
            kubectl,
            api,
            kubeconfig,
            cluster,
        }
    }

    /// Ends the control plane as a crash does.
    pub(crate) fn kill_control(&mut self) {
        self.control = None;
    }

    /// Starts it again.
    pub(crate) async fn start_control(&mut self) {
        let control = control(&self.kubeconfig, &self.kubectl).await;
        self.node.control.lead_to(control.addr);
        self.control = Some(control);
    }

    /// Runs a pod that the API server has.
    pub(crate) async fn run(&self, namespace: &str, name: &str) -> Pod {
        self.node.run(&self.cluster, namespace, name).await
    }

    /// `kubectl apply` in the namespace `default` of what names none.
    pub(crate) async fn apply(&self, yaml: &str) {
        let apply = ["apply", "-n", "default", "-f", "-"];
        self.kubectl.done(&apply, yaml).await;
    }

    /// A call of a service by the address that it has in the cluster now.
    pub(crate) async fn call(&self, namespace: &str, service: &str, path: &'static str) -> Call {
        let get = ["service", "-n", namespace, service];
        let found = self.kubectl.get(&get).await;
        let addr = found["spec"]["clusterIP"].as_str();
        let addr: IpAddr = addr
            .and_then(|addr| addr.parse().ok())
            .expect("an address of the cluster");
        let port = found["spec"]["ports"][0]["port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok());
        Call {
            addr: SocketAddr::new(addr, port.expect("a port")),
            host: format!("{service}.{namespace}"),
            path,
            headers: &[],
        }
    }
}

/// A control plane with its webhooks where the API server looks for them.
async fn control(kubeconfig: &std::path::Path, kubectl: &Kubectl) -> Control {
    let webhooks = format!("{}:0", own_address());
    let arguments = ["--webhook-addr", webhooks.as_str()];
    let control = Control::in_cluster(kubeconfig, NAMESPACE, &arguments).await;
    let webhooks = control.webhooks.expect("it is in a cluster");
    kubectl.apply(&service(webhooks)).await;
    control
}

/// A slice of a service with these endpoints, at the port that its pods have.
pub(crate) fn slice(namespace: &str, service: &str, port: u16, endpoints: &[Value]) -> String {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
    .to_string()
}
