//! What the API server keeps of what became of a resource.

use std::path::Path;
use std::sync::Arc;

use config::mesh::MeshSettings;
use control::hub::{self, Hub};
use control::lease::{self, Timing, contend};
use control::source::kubernetes::{self, connect};
use control::status::known::Known;
use control::status::writer::{self, Metrics};
use prometheus::Registry;
use serde_json::Value;
use tests::cluster::Kubectl;
use tests::{Cluster, eventually};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::definitions::virtual_services;

/// Events that may wait to be taken.
const EVENTS_MAX: usize = 64;

/// A route for `host`.
fn route(name: &str, host: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ['{host}'], http: [{{directResponse: {{status: 200}}}}]}}
"
    )
}

/// A replica that follows an API server and writes what became of resources.
struct Replica {
    registry: Registry,
    _tasks: JoinSet<()>,
}

impl Replica {
    async fn start(cluster: &Cluster, namespace: &str) -> Self {
        let registry = Registry::new();
        let client = connect(Some(&cluster.admin())).await.expect("a client");
        let hub = Hub::new(hub::Settings::default(), &registry).expect("new names");
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let watches = kubernetes::Metrics::register(&registry).expect("new names");
        let writes = Metrics::register(&registry).expect("new names");
        let (contender, leadership) = contend(
            client.clone(),
            lease::Settings {
                namespace: namespace.to_owned(),
                name: "meshcontrol".to_owned(),
                identity: "one".to_owned(),
                timing: Timing::default(),
            },
        );
        let known = Arc::new(Known::new(Arc::clone(&hub), "one".to_owned()));
        let mut tasks = JoinSet::new();
        tasks.spawn(contender.run(std::future::pending()));
        tasks.spawn(async move { hub.run(events, MeshSettings::default()).await });
        let settings = kubernetes::Settings::default();
        let contact = kubernetes::Contact::default();
        let source = kubernetes::run(client.clone(), settings, watches, contact, sender);
        tasks.spawn(source);
        tasks.spawn(writer::run(client, known, leadership, writes));
        Self {
            registry,
            _tasks: tasks,
        }
    }

    /// Attempts to write that came to `result`.
    fn writes(&self, result: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|it| it.name() == "meshcontrol_status_writes_total");
        let series = family.into_iter().flat_map(|it| it.get_metric());
        let labelled = series.filter(|it| it.get_label().iter().any(|it| it.value() == result));
        labelled.map(|it| it.get_counter().get_value()).sum()
    }
}

/// A route as the API server has it.
async fn object(kubectl: &Kubectl, namespace: &str, name: &str) -> Value {
    kubectl
        .get(&["virtualservice", "-n", namespace, name])
        .await
}

/// `Type=status reason: message` of each condition.
fn told(object: &Value) -> Vec<String> {
    let conditions = object["status"]["conditions"].as_array();
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    let told = conditions.into_iter().flatten().map(|it| {
        let [kind, status] = ["type", "status"].map(|field| text(it, field));
        let [reason, message] = ["reason", "message"].map(|field| text(it, field));
        format!("{kind}={status} {reason}: {message}")
    });
    told.collect()
}

/// Waits until the conditions of a route are these.
async fn until(kubectl: &Kubectl, (namespace, name): (&str, &str), expected: &[&str]) -> Value {
    let look = || object(kubectl, namespace, name);
    let what = format!("conditions of {name}: {expected:?}");
    eventually(&what, look, |it| told(it) == expected).await
}

#[tokio::test]
async fn each_resource_tells_what_became_of_it() {
    // Its own: another test's replica would write some of it.
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meshproxy/crds");
    kubectl.apply_definitions(&charts).await;
    let namespace = cluster.namespace("conditions").await;
    let apply = async |yaml: &str| {
        let arguments = ["apply", "-n", &namespace, "-f", "-"];
        kubectl.done(&arguments, yaml).await;
    };
    apply(&route("a", "a.test")).await;
    let replica = Replica::start(&cluster, &namespace).await;

    let fine = [
        "Accepted=True Valid: ",
        "Conflicted=False None: ",
        "Programmed=True NotNeededHere: no proxy of this replica needs it",
    ];
    let first = until(&kubectl, (&namespace, "a"), &fine).await;
    for condition in first["status"]["conditions"].as_array().expect("a list") {
        assert_eq!(condition["observedGeneration"], 1);
    }

    // Of the same age, by the second, the name decides.
    apply(&route("b", "a.test")).await;
    let ignored = format!(
        "Conflicted=True OtherGoesFirst: spec.hosts[0]: ignored in the mesh: VirtualService \
         {namespace}/a has this host and goes first"
    );
    let second = [fine[0], &ignored, fine[2]];
    until(&kubectl, (&namespace, "b"), &second).await;

    // What the API server lets pass and nobody can use: its last good form stays.
    apply(&route("b", "b b.test")).await;
    let broken = |it: &Value| {
        told(it)
            .iter()
            .any(|it| it.starts_with("Accepted=False Invalid"))
    };
    let look = || object(&kubectl, &namespace, "b");
    let refused = eventually("b is refused", look, broken).await;
    let accepted = &refused["status"]["conditions"][0];
    let message = accepted["message"].as_str().expect("a message");
    assert!(
        message.starts_with("its last valid form stays in use\nspec.hosts[0]: "),
        "{message}"
    );
    assert_eq!(accepted["observedGeneration"], 2);

    // All that was written meanwhile was about others.
    let last = object(&kubectl, &namespace, "a").await;
    let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&last), version(&first));
    assert!(replica.writes("written") >= 3.0);
}

#[tokio::test]
async fn conditions_of_others_stay() {
    let cluster = Cluster::shared().await;
    let kubectl = cluster.kubectl();
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meshproxy/crds");
    kubectl.apply_definitions(&charts).await;
    let namespace = cluster.namespace("others").await;
    let arguments = ["apply", "-n", &namespace, "-f", "-"];
    kubectl.done(&arguments, &route("a", "others.test")).await;
    let theirs = r#"{"status": {"observedBy": "them", "conditions":
        [{"type": "Reconciled", "status": "True", "reason": "Theirs", "message": ""}]}}"#;
    let patch = [
        "patch",
        "virtualservice",
        "-n",
        &namespace,
        "a",
        "--subresource=status",
    ];
    let patch = [&patch[..], &["--type=merge", "-p", theirs]].concat();
    kubectl.done(&patch, "").await;

    let _replica = Replica::start(cluster, &namespace).await;

    let expected = [
        "Reconciled=True Theirs: ",
        "Accepted=True Valid: ",
        "Conflicted=False None: ",
        "Programmed=True NotNeededHere: no proxy of this replica needs it",
    ];
    let object = until(&kubectl, (&namespace, "a"), &expected).await;
    assert_eq!(object["status"]["observedBy"], "them");
}

#[tokio::test]
async fn a_cluster_that_knows_only_an_older_version_of_a_kind_is_told_too() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl();
    kubectl.apply(&virtual_services(&["v1beta1"])).await;
    let wait = ["wait", "--for=condition=Established", "--all", "crd"];
    kubectl.done(&wait, "").await;
    let namespace = cluster.namespace("older").await;
    let older = route("a", "older.test").replace("istio.io/v1", "istio.io/v1beta1");
    let arguments = ["apply", "-n", &namespace, "-f", "-"];
    kubectl.done(&arguments, &older).await;

    let _replica = Replica::start(&cluster, &namespace).await;

    let expected = [
        "Accepted=True Valid: ",
        "Conflicted=False None: ",
        "Programmed=True NotNeededHere: no proxy of this replica needs it",
    ];
    until(&kubectl, (&namespace, "a"), &expected).await;
}
