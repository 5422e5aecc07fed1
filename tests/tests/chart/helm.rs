//! The chart, rendered by the real `helm`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Namespace of the release.
pub(crate) const NAMESPACE: &str = "istio-system";
/// What `helm` takes the cluster to be: without one it would take a version that it was built with.
const KUBERNETES: &str = "1.36.0";

/// Sets of values that change which objects there are.
pub(crate) const VARIANTS: [(&str, &[&str]); 6] = [
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
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meshproxy")
}

/// What the chart renders with `settings`, each as `--set` takes it.
///
/// # Panics
///
/// If `helm` refuses, with what it says.
pub(crate) fn render(settings: &[&str]) -> Vec<Value> {
    let rendered = template(settings);
    let text = String::from_utf8_lossy(&rendered.stdout);
    let said = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{settings:?}: {said}");
    text.split("\n---\n")
        .map(|document| {
            let document = config::strict::parse(Path::new("rendered"), document);
            document.expect("helm renders YAML").value
        })
        .collect()
}

/// What `helm` says when it refuses `settings`.
///
/// # Panics
///
/// If it takes them.
pub(crate) fn refusal(settings: &[&str]) -> String {
    let rendered = template(settings);
    assert!(!rendered.status.success(), "{settings:?} is taken");
    String::from_utf8_lossy(&rendered.stderr).into_owned()
}

/// Runs `helm` with `arguments` to its end.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo has its folder for tests in the target folder");
    let helm = target.join("kubernetes/helm");
    assert!(
        helm.is_file(),
        "{} is not there: run `tests/install-kubernetes`, which builds it",
        helm.display()
    );
    let mut command = Command::new(helm);
    command.args(arguments).arg(chart());
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
pub(crate) fn of_kind<'a>(
    objects: &'a [Value],
    kind: &'a str,
) -> impl Iterator<Item = &'a Value> + 'a {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The only object of a kind and name.
///
/// # Panics
///
/// If there is none.
pub(crate) fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The items of a list; none if it is not there.
pub(crate) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The texts of a list; none if it is not there.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    items(value).filter_map(Value::as_str).collect()
}
