//! The chart of the mesh, rendered by the real `helm`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use config::documents;
use serde_json::{Value, json};

use crate::cluster::{Cluster, binaries};

/// Namespace of the release.
pub const NAMESPACE: &str = "istio-system";
/// Service account of the control plane.
pub const ACCOUNT: &str = "meshcontrol";
/// What `helm` takes the cluster to be: without one it would take a version that it was built with.
const KUBERNETES: &str = "1.36.0";

/// Sets of values that change which objects there are.
pub const VARIANTS: [(&str, &[&str]); 6] = [
    ("as it comes", &[]),
    (
        "one replica, ports and names for old tools",
        &[
            "control.replicas=1",
            "control.plain=true",
            "control.istiodAlias=true",
        ],
    ),
    (
        "with a gateway",
        &["gateway.enabled=true", "meshConfig.trustDomain=shop.test"],
    ),
    (
        "a gateway of fixed size in front of clients of a known network",
        &[
            "gateway.enabled=true",
            "gateway.autoscaling.enabled=false",
            "gateway.service.externalTrafficPolicy=Local",
            "gateway.service.loadBalancerSourceRanges={192.0.2.0/24}",
        ],
    ),
    (
        "another revision that may read few secrets",
        &["revision=canary", "secrets.namespaces={shop,edge}"],
    ),
    (
        "nothing but the control plane, with monitors",
        &[
            "webhooks.injection.enabled=false",
            "webhooks.validation.enabled=false",
            "networkPolicy.enabled=false",
            "monitoring.serviceMonitor=true",
            "monitoring.podMonitor=true",
        ],
    ),
];

/// The folder of the chart.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meshproxy")
}

/// What the chart renders with `settings`, each as `--set` takes it.
///
/// # Panics
///
/// If `helm` refuses, with what it says.
pub fn render(settings: &[&str]) -> Vec<Value> {
    let text = render_text(settings);
    let documents = documents::read(Path::new("rendered"), &text);
    let documents = documents.expect("helm renders YAML").into_iter();
    documents.map(|document| document.value).collect()
}

/// The same as `helm` prints it.
///
/// # Panics
///
/// If `helm` refuses, with what it says.
pub fn render_text(settings: &[&str]) -> String {
    let rendered = template(settings);
    let said = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{settings:?}: {said}");
    String::from_utf8_lossy(&rendered.stdout).into_owned()
}

/// What `helm` says when it refuses `settings`.
///
/// # Panics
///
/// If it takes them.
pub fn refusal(settings: &[&str]) -> String {
    let rendered = template(settings);
    assert!(!rendered.status.success(), "{settings:?} is taken");
    String::from_utf8_lossy(&rendered.stderr).into_owned()
}

/// Runs `helm` with `arguments`, and the chart as the last of them, to its end.
///
/// # Panics
///
/// If it cannot be started.
pub fn helm(arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::path("helm"));
    command.args(arguments).arg(folder());
    command.output().expect("helm can be started")
}

fn template(settings: &[&str]) -> Output {
    let mut arguments = vec!["template", "mesh", "--namespace", NAMESPACE];
    arguments.extend(["--kube-version", KUBERNETES]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    helm(&arguments)
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The only object of a kind and name.
///
/// # Panics
///
/// If there is none.
pub fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The items of a list; none if it is not there.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The texts of a list; none if it is not there.
pub fn texts(value: &Value) -> Vec<&str> {
    items(value).filter_map(Value::as_str).collect()
}

/// Gives the account of the control plane the rights that the chart has for it with `settings`, in the
/// namespace of the release, and returns a kubeconfig of it. May be done again.
///
/// # Panics
///
/// If the cluster does not take them.
pub async fn under_chart_rbac(cluster: &Cluster, settings: &[&str]) -> PathBuf {
    let objects = render(settings);
    let is_right = |object: &&Value| {
        object["kind"]
            .as_str()
            .is_some_and(|it| it.contains("Role"))
    };
    let rights: Vec<&Value> = objects.iter().filter(is_right).collect();
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE},
    });
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let kubectl = cluster.kubectl();
    kubectl.done(&apply, &namespace.to_string()).await;
    cluster.account(NAMESPACE, ACCOUNT).await;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rights});
    kubectl.done(&apply, &list.to_string()).await;
    cluster.account_kubeconfig(NAMESPACE, ACCOUNT).await
}
