//! A node of a cluster: pods of it really run, each in a network namespace with an address of its own.
//!
//! It does what a kubelet does as far as traffic needs it: it starts what a pod says, the injected proxy
//! with its variables, token and roots included, probes from outside, and tells the API server of the
//! pod. Needs root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary::bookinfo;
use tests::chart::{items, texts};
use tests::cluster::Kubectl;
use tests::netns::host::Running;
use tests::netns::sidecar::PROXY_USER;
use tests::netns::{Families, Host, Network, Sidecar};
use tests::{Cluster, Gate, Http1, eventually};

use crate::pod::{CONNECT_MAX, Pod};

/// Where proxies look for the control plane.
const CONTROL_NAME: &str = "meshcontrol.istio-system.svc";
const CONTROL_PORT: u16 = 15_012;
/// Begins the images whose program is at hand.
const BOOKINFO: &str = "bookinfo:";

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Leads pods to the control plane, which is outside of their network.
    pub(crate) control: Gate,
    /// Where that gate is; nothing else is there.
    plane: Host,
    /// Last: what runs in it ends first.
    network: Network,
}

// === impl Node ===

impl Node {
    /// One whose pods find the control plane at `control`.
    pub(crate) fn new(control: SocketAddr) -> Self {
        let network = Network::new(Families::V4);
        let plane = network.host("plane");
        let listener = plane.listen((Ipv4Addr::UNSPECIFIED, CONTROL_PORT).into());
        Self {
            control: Gate::at(listener, control),
            plane,
            network,
        }
    }

    /// Runs a pod that the API server has, and returns when it is ready.
    pub(crate) async fn run(&self, cluster: &Cluster, namespace: &str, name: &str) -> Pod {
        let kubectl = cluster.kubectl();
        let object = kubectl.get(&["pod", "-n", namespace, name]).await;
        let host = self.network.host(name);
        let names = self.names(&kubectl).await;
        let names = names
            .iter()
            .map(|(name, addr)| (name.as_str(), addr.as_slice()));
        host.resolves(&names.collect::<Vec<_>>());
        running(&kubectl, &object, host.addr()).await;
        let sidecar = match has_proxy(&object) {
            true => {
                let volumes = volumes(cluster, namespace, &object).await;
                Some(Sidecar::injected(&host, &object, volumes).await)
            }
            false => None,
        };
        let containers = items(&object["spec"]["containers"]);
        let programs = containers.filter_map(|it| program(&host, it)).collect();
        let pod = Pod::new(namespace, name, host, sidecar, programs);
        self.probed(&pod, &object).await;
        pod
    }

    /// Names as the DNS of a cluster has them, as far as they are of services with an address.
    async fn names(&self, kubectl: &Kubectl) -> Vec<(String, [IpAddr; 1])> {
        let services = kubectl.get(&["services", "--all-namespaces"]).await;
        let mut names = vec![(CONTROL_NAME.to_owned(), [self.plane.addr()])];
        for service in items(&services["items"]) {
            let text = |pointer| service.pointer(pointer).and_then(Value::as_str);
            let name = text("/metadata/name").expect("services have names");
            let namespace = text("/metadata/namespace").expect("and namespaces");
            let addr = text("/spec/clusterIP").and_then(|addr| addr.parse().ok());
            let Some(addr) = addr else { continue };
            names.push((format!("{name}.{namespace}.svc"), [addr]));
            if namespace == "default" {
                names.push((name.to_owned(), [addr]));
            }
        }
        names
    }

    /// Waits until every readiness probe of a pod is answered well, as a kubelet sends it: from outside.
    async fn probed(&self, pod: &Pod, object: &Value) {
        let containers = items(&object["spec"]["containers"]);
        for probe in containers.map(|it| &it["readinessProbe"]["httpGet"]) {
            let (Some(path), Some(port)) = (probe["path"].as_str(), probe["port"].as_u64()) else {
                continue;
            };
            let port = u16::try_from(port).expect("a port");
            let addr = SocketAddr::new(pod.addr(), port);
            let ask = async || match self.plane.connect(addr, CONNECT_MAX).await {
                Ok(tcp) => {
                    let mut client = Http1::over(tcp).await;
                    client.get("kubelet", path).await.status.as_u16()
                }
                Err(_) => 0,
            };
            let what = format!("the probe {path} of {}", pod.name());
            eventually(&what, ask, |status| *status == 200).await;
        }
    }
}

fn has_proxy(pod: &Value) -> bool {
    let lists = ["initContainers", "containers"];
    let mut all = lists.iter().flat_map(|list| items(&pod["spec"][list]));
    all.any(|container| container["name"] == "istio-proxy")
}

/// Tells the API server that a pod runs, and where.
async fn running(kubectl: &Kubectl, pod: &Value, addr: IpAddr) {
    let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").expect("a stored pod has a name");
    let namespace = text("/metadata/namespace").expect("a stored pod has a namespace");
    let status = json!({"status": {
        "phase": "Running",
        "podIP": addr,
        "podIPs": [{"ip": addr}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }})
    .to_string();
    let patch = ["patch", "pod", "-n", namespace, name];
    let how = ["--subresource=status", "--type=merge", "-p", &status];
    kubectl.done(&[&patch[..], &how].concat(), "").await;
}

/// The program of a container, if it is one of ours.
fn program(host: &Host, container: &Value) -> Option<Running> {
    let image = container["image"].as_str()?;
    if !image.starts_with(BOOKINFO) {
        return None;
    }
    let user = container["securityContext"]["runAsUser"].as_u64();
    let user = u32::try_from(user.unwrap_or_default()).expect("a user");
    let mut command = host.command(user, bookinfo());
    command.args(texts(&container["args"]));
    Some(host.start(command))
}

/// What the proxy of a pod finds in its volumes: a token of its own, what it is to believe, and room.
async fn volumes(cluster: &Cluster, namespace: &str, pod: &Value) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let token = cluster.pod_token(namespace, pod, "istio-ca").await;
    let kubectl = cluster.kubectl();
    let get = ["get", "-o", "json", "configmap", "-n", namespace];
    let get = [&get[..], &["istio-ca-root-cert"]].concat();
    let ask = async || {
        let map = kubectl.run(&get, "").await.stdout;
        let map: Value = serde_json::from_str(&map).unwrap_or_default();
        map["data"]["root-cert.pem"].as_str().map(str::to_owned)
    };
    let roots = eventually("roots in the namespace", ask, Option::is_some).await;
    let write = |volume: &str, file: &str, text: &str| {
        let volume = folder.path().join(volume);
        fs::create_dir(&volume).expect("a temporary folder can be made");
        fs::write(volume.join(file), text).expect("a temporary file can be written");
    };
    write("istio-token", "istio-token", &token);
    write(
        "istiod-ca-cert",
        "root-cert.pem",
        &roots.unwrap_or_default(),
    );
    let state = folder.path().join("meshproxy-state");
    fs::create_dir(&state).expect("a temporary folder can be made");
    chown(&state, Some(PROXY_USER), Some(PROXY_USER)).expect("we are root");
    open(folder.path());
    folder
}

/// Lets the proxy's user look into a temporary folder, which only root may.
fn open(folder: &Path) {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, mode).expect("our folder");
}
