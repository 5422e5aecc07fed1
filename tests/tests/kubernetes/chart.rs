//! The chart and the manifests of the example in front of a real API server.

use std::path::Path;

use serde_json::Value;
use tests::chart::{NAMESPACE, VARIANTS, named, of_kind, render_text, texts, under_chart_rbac};
use tests::cluster::Kubectl;
use tests::{Cluster, Control, chart, eventually};
use tokio::sync::OnceCell;

use crate::definitions::loose;
use crate::mirror::Mirror;

/// What the rights of these scenarios are rendered with.
const FEW_SECRETS: [&str; 1] = ["secrets.namespaces={edge}"];
/// Namespaces that the values of some variants name.
const NAMESPACES: [&str; 3] = [NAMESPACE, "shop", "edge"];

/// Applies `yaml` as far as it can be done without changing anything. A field that the API server does
/// not know is an error.
async fn try_out(kubectl: &Kubectl, what: &str, yaml: &str) {
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
    ];
    let ran = kubectl.run(&apply, yaml).await;
    assert!(ran.success, "{what}: {}", ran.stderr);
}

/// The cluster of these scenarios, with the definitions of the mesh and the namespaces.
async fn prepared() -> &'static Cluster {
    static PREPARED: OnceCell<Cluster> = OnceCell::const_new();
    let prepare = async || {
        let cluster = Cluster::start().await;
        for namespace in NAMESPACES {
            cluster.create_namespace(namespace).await;
        }
        let definitions = chart::folder().join("crds");
        cluster.kubectl().apply_definitions(&definitions).await;
        cluster
    };
    PREPARED.get_or_init(prepare).await
}

#[tokio::test]
async fn every_object_of_the_chart_is_taken_whatever_is_set() {
    let cluster = prepared().await;
    let kubectl = cluster.kubectl();
    // Those of the Prometheus operator are not here; their form is.
    for (kind, plural) in [
        ("ServiceMonitor", "servicemonitors"),
        ("PodMonitor", "podmonitors"),
    ] {
        let definition = loose("monitoring.coreos.com", kind, plural, &["v1"]);
        kubectl.apply(&definition).await;
    }
    let wait = ["wait", "--for=condition=Established", "--all", "crd"];
    kubectl.done(&wait, "").await;

    for (what, settings) in VARIANTS {
        try_out(&kubectl, what, &render_text(settings)).await;
    }
}

#[tokio::test]
async fn bookinfo_is_taken_with_its_routes_and_policies() {
    let cluster = prepared().await;
    let kubectl = cluster.kubectl();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo");

    for file in [
        "kubernetes/bookinfo.yaml",
        "kubernetes/gateway.yaml",
        "kubernetes/security.yaml",
        "security.yaml",
        "scenarios/90-10.yaml",
    ] {
        let yaml = std::fs::read_to_string(folder.join(file)).expect(file);
        try_out(&kubectl, file, &yaml).await;
    }
}

#[tokio::test]
async fn the_rights_of_the_control_plane_let_it_see_every_kind() {
    let cluster = Cluster::shared().await;

    let kubeconfig = under_chart_rbac(cluster, &[]).await;
    let mirror = Mirror::of(&kubeconfig).await;

    mirror.synced().await;
}

/// Whether the account of the control plane may do something.
async fn may(kubectl: &Kubectl, what: &[&str]) -> bool {
    let account = format!("system:serviceaccount:{NAMESPACE}:{}", chart::ACCOUNT);
    let ask = [&["auth", "can-i", "--as", account.as_str()], what].concat();
    kubectl.run(&ask, "").await.stdout.trim() == "yes"
}

#[tokio::test]
async fn the_rights_of_the_control_plane_are_no_more_than_it_needs() {
    let cluster = prepared().await;
    let kubectl = cluster.kubectl();
    under_chart_rbac(cluster, &FEW_SECRETS).await;

    for allowed in [
        &["list", "pods", "--all-namespaces"][..],
        &["list", "secrets", "-n", "edge"],
        &["watch", "secret/cacerts", "-n", NAMESPACE],
        &["update", "secret/meshcontrol-ca", "-n", NAMESPACE],
        &["patch", "configmap/istio-ca-root-cert", "-n", "shop"],
        &[
            "patch",
            "virtualservices.networking.istio.io/a",
            "--subresource=status",
            "-n",
            "shop",
        ],
        &["create", "tokenreviews.authentication.k8s.io"],
    ] {
        assert!(may(&kubectl, allowed).await, "{allowed:?}");
    }
    for refused in [
        &["list", "secrets", "--all-namespaces"][..],
        &["list", "secrets", "-n", "shop"],
        &["get", "secret/another", "-n", NAMESPACE],
        &["update", "secret/another", "-n", NAMESPACE],
        &["create", "secrets", "-n", "edge"],
        &["create", "configmaps", "-n", "shop"],
        &["patch", "configmap/another", "-n", "shop"],
        &["update", "configmap/istio-ca-root-cert", "-n", "shop"],
        &["list", "configmaps", "-n", NAMESPACE],
        &[
            "update",
            "virtualservices.networking.istio.io/a",
            "-n",
            "shop",
        ],
        &["create", "pods", "-n", NAMESPACE],
        &["create", "pods", "--subresource=exec", "-n", NAMESPACE],
        &[
            "create",
            "serviceaccounts",
            "--subresource=token",
            "-n",
            NAMESPACE,
        ],
        &[
            "update",
            "leases.coordination.k8s.io/another",
            "-n",
            NAMESPACE,
        ],
        &["patch", "validatingwebhookconfigurations/another"],
        &["bind", "clusterroles"],
        &["escalate", "clusterroles"],
        &["impersonate", "serviceaccounts"],
    ] {
        assert!(!may(&kubectl, refused).await, "{refused:?}");
    }
}

#[tokio::test]
async fn the_rights_of_the_control_plane_are_nobody_elses() {
    let cluster = prepared().await;
    let kubectl = cluster.kubectl();
    under_chart_rbac(cluster, &FEW_SECRETS).await;
    let account = "system:serviceaccount:istio-system:istio-ingressgateway-service-account";

    let list = ["auth", "can-i", "--list", "--as", account, "-n", NAMESPACE];
    let rights = kubectl.done(&list, "").await;

    // What everybody has: to ask who it is, and what it may.
    let more: Vec<&str> = rights
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("selfsubject") && !line.starts_with(' '))
        .collect();
    assert!(more.is_empty(), "{more:?}");
}

/// Flags of the chart that the harness gives by itself.
const GIVEN: [&str; 3] = ["serve", "--source=", "--namespace="];

#[tokio::test]
async fn the_control_plane_does_all_its_work_as_the_chart_starts_it() {
    let cluster = Cluster::start().await;
    for namespace in NAMESPACES {
        cluster.create_namespace(namespace).await;
    }
    let kubectl = cluster.kubectl();
    let definitions = chart::folder().join("crds");
    kubectl.apply_definitions(&definitions).await;
    let route = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo/scenarios/90-10.yaml"),
    );
    kubectl.apply(&route.expect("the example has it")).await;
    let kubeconfig = under_chart_rbac(&cluster, &FEW_SECRETS).await;
    let objects = chart::render(&FEW_SECRETS);
    let configurations = of_kind(&objects, "MutatingWebhookConfiguration")
        .chain(of_kind(&objects, "ValidatingWebhookConfiguration"));
    for configuration in configurations {
        kubectl.apply(&configuration.to_string()).await;
    }
    let pod = &named(&objects, "Deployment", "meshcontrol")["spec"]["template"]["spec"];
    let flags = texts(&pod["containers"][0]["args"]);
    let is_given = |flag: &&str| GIVEN.iter().any(|given| flag.starts_with(given));
    let flags: Vec<&str> = flags.into_iter().filter(|it| !is_given(it)).collect();

    let control = Control::in_cluster(&kubeconfig, NAMESPACE, &flags).await;

    // Its authority, what others believe, that API servers believe it, and what it says of a resource.
    for (what, place) in [
        (&["secret", "meshcontrol-ca", "-n", NAMESPACE][..], "/data"),
        (
            &["configmap", "istio-ca-root-cert", "-n", "shop"],
            "/data/root-cert.pem",
        ),
        (
            &["lease", "meshcontrol", "-n", NAMESPACE],
            "/spec/holderIdentity",
        ),
        (
            &["mutatingwebhookconfiguration", "meshcontrol-istio-system"],
            "/webhooks/3/clientConfig/caBundle",
        ),
        (
            &["validatingwebhookconfiguration", "meshcontrol-istio-system"],
            "/webhooks/0/clientConfig/caBundle",
        ),
        (
            &["virtualservice", "reviews", "-n", "default"],
            "/status/conditions",
        ),
    ] {
        let look = async || {
            let get = [&["get", "-o", "json"], what].concat();
            let found = kubectl.run(&get, "").await.stdout;
            let found: Value = serde_json::from_str(&found).unwrap_or_default();
            found.pointer(place).cloned()
        };
        eventually(place, look, Option::is_some).await;
    }
    let log = control.stderr.all();
    let refused: Vec<&String> = log.iter().filter(|it| it.contains("orbidden")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
