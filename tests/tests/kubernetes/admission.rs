//! What the API server asks the webhooks, and what becomes of pods and resources by the answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::admission::bundle::{self, Configurations};
use control::admission::{Counters, Router};
use control::inject::Injector;
use control::lease::{Settings, Timing, contend};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use prometheus::Registry;
use serde_json::{Value, json};
use tests::{Authority, Cluster, eventually};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::definitions_of_chart::cluster;

/// The webhooks, served as the control plane does, for one namespace of a cluster.
struct Webhooks {
    cluster: &'static Cluster,
    namespace: String,
    _server: JoinSet<()>,
}

// === impl Webhooks ===

impl Webhooks {
    /// For a namespace of their own with these labels, once the API server asks them.
    async fn start(purpose: &str, labels: &[&str]) -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace(purpose).await;
        let kubectl = cluster.kubectl();
        for label in labels {
            kubectl
                .done(&["label", "namespace", &namespace, label], "")
                .await;
        }
        let authority = Authority::new("cluster.local");
        let (addr, server) = serve(&authority).await;
        let bundle = STANDARD.encode(authority.root());
        kubectl
            .apply(&configurations(&namespace, addr, &bundle))
            .await;
        let webhooks = Self {
            cluster,
            namespace,
            _server: server,
        };
        webhooks.asked().await;
        webhooks
    }

    /// Waits until the API server knows whom to ask: it learns that by a watch.
    async fn asked(&self) {
        let wrong = route(&self.namespace, "-1s");
        let refused = async || self.applied(&wrong).await;
        eventually("the webhook is asked", refused, |it| {
            it.contains("denied the request")
        })
        .await;
    }

    /// What `kubectl apply` complains of.
    async fn applied(&self, yaml: &str) -> String {
        let arguments = ["apply", "--dry-run=server", "-f", "-"];
        self.cluster.kubectl().run(&arguments, yaml).await.stderr
    }

    /// A pod as the API server would store it.
    async fn created(&self, pod: &Value) -> Value {
        let arguments = [
            "create",
            "--dry-run=server",
            "-o",
            "json",
            "-n",
            &self.namespace,
            "-f",
            "-",
        ];
        let created = self
            .cluster
            .kubectl()
            .done(&arguments, &pod.to_string())
            .await;
        serde_json::from_str(&created).expect("kubectl writes JSON")
    }
}

async fn serve(authority: &Authority) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let signed = authority
        .leaf_named(&[], &["localhost"])
        .for_servers()
        .sign();
    let config = signed.server(&["h2", "http/1.1"]);
    let acceptor = TlsAcceptor::from(config);
    let counters = Counters::new(&Registry::new()).expect("the registry is empty");
    let router = Router::new(Injector::default(), counters);
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let router = router.clone();
                    async move { Ok::<_, Infallible>(router.answer(request).await) }
                });
                // It ends as its client pleases.
                let _ = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (addr, server)
}

/// Both configurations for one namespace, with selectors and rules of those of the chart.
fn configurations(namespace: &str, addr: SocketAddr, bundle: &str) -> String {
    let webhook = |path: &str, rules: Value, labels: Value| {
        let mut selector = json!({"kubernetes.io/metadata.name": namespace});
        selector
            .as_object_mut()
            .expect("a mapping")
            .extend(labels.as_object().cloned().unwrap_or_default());
        json!({
            "name": format!("{path}.meshproxy.io"),
            "clientConfig": {"url": format!("https://localhost:{}/{path}", addr.port()), "caBundle": bundle},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "namespaceSelector": {"matchLabels": selector},
            "rules": [rules],
        })
    };
    let configuration = |kind: &str, webhook: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": namespace},
            "webhooks": [webhook],
        })
    };
    let pods = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    let ours = json!({
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": ["networking.istio.io", "security.istio.io", "policy.meshproxy.io"],
        "apiVersions": ["*"],
        "resources": ["*"],
    });
    let inject = webhook("inject", pods, json!({"istio-injection": "enabled"}));
    let validate = webhook("validate", ours, json!({}));
    let both = [
        configuration("MutatingWebhookConfiguration", inject),
        configuration("ValidatingWebhookConfiguration", validate),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": both}).to_string()
}

fn route(namespace: &str, timeout: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: {namespace}}}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {{host: reviews, subset: V 1}}
    timeout: {timeout}
"
    )
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "reviews", "labels": {"app": "reviews", "version": "v1"}},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "migrate:1"}],
            "containers": [{
                "name": "reviews",
                "image": "reviews:1",
                "ports": [{"name": "http", "containerPort": 9080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }],
        },
    })
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().into_iter().flatten();
    items
        .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_wrong_resource_is_refused_by_apply_in_the_words_of_check() {
    let webhooks = Webhooks::start("refuse", &[]).await;
    let namespace = &webhooks.namespace;

    let refused = webhooks.applied(&route(namespace, "soon")).await;

    let about = format!("VirtualService {namespace}/reviews: spec.http[0]");
    for told in [
        format!(
            "{about}.timeout: must be a duration such as \"1.5s\", \"100ms\" or \"1h\", got \"soon\""
        ),
        format!("{about}.route[0].destination.subset: "),
    ] {
        assert!(refused.contains(&told), "{told} is not in {refused}");
    }
    let right = route(namespace, "5s").replace("V 1", "v1");
    assert_eq!(webhooks.applied(&right).await, "");
}

#[tokio::test]
async fn what_has_no_effect_is_stored_with_a_warning() {
    let webhooks = Webhooks::start("warn", &[]).await;
    let yaml = route(&webhooks.namespace, "5s")
        .replace("V 1", "v1")
        .replace("  - route:", "  - match: [{statPrefix: x}]\n    route:");

    let said = webhooks.applied(&yaml).await;

    assert!(said.contains("Warning: "), "{said}");
    assert!(
        said.contains("spec.http[0].match[0].statPrefix: has no effect yet"),
        "{said}"
    );
}

#[tokio::test]
async fn a_pod_of_a_labelled_namespace_comes_back_injected() {
    let webhooks = Webhooks::start("inject", &["istio-injection=enabled"]).await;

    let created = webhooks.created(&pod()).await;

    assert_eq!(
        names(&created, "initContainers"),
        ["meshproxy-init", "istio-proxy", "migrate"]
    );
    assert_eq!(names(&created, "containers"), ["reviews"]);
    let proxy = &created["spec"]["initContainers"][1];
    assert_eq!(proxy["restartPolicy"], "Always");
    assert_eq!(proxy["readinessProbe"]["httpGet"]["port"], 15_021);
    let probe = &created["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!(probe["path"], "/app-health/reviews/readyz");
}

#[tokio::test]
async fn a_pod_for_an_older_cluster_is_a_pod_that_the_api_server_takes() {
    let webhooks = Webhooks::start("older", &["istio-injection=enabled"]).await;
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/nativeSidecar": "false"});

    let created = webhooks.created(&pod).await;

    assert_eq!(
        names(&created, "initContainers"),
        ["migrate", "meshproxy-init"]
    );
    assert_eq!(names(&created, "containers"), ["istio-proxy", "reviews"]);
}

#[tokio::test]
async fn a_pod_is_left_alone_where_nobody_asks_or_it_refuses() {
    let plain = Webhooks::start("plain", &[]).await;
    assert_eq!(
        names(&plain.created(&pod()).await, "containers"),
        ["reviews"]
    );

    let asked = Webhooks::start("asked", &["istio-injection=enabled"]).await;
    let mut pod = pod();
    pod["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    let created = asked.created(&pod).await;
    assert_eq!(names(&created, "initContainers"), ["migrate"]);
    assert!(created["metadata"]["annotations"].is_null(), "{created}");
}

#[tokio::test]
async fn a_pod_whose_annotation_is_wrong_is_not_created() {
    let webhooks = Webhooks::start("wrong", &["istio-injection=enabled"]).await;
    let mut pod = pod();
    pod["metadata"]["namespace"] = json!(webhooks.namespace);
    pod["metadata"]["annotations"] =
        json!({"traffic.sidecar.istio.io/excludeInboundPorts": "http"});

    let refused = webhooks.applied(&pod.to_string()).await;

    let told =
        "metadata.annotations[\"traffic.sidecar.istio.io/excludeInboundPorts\"]: must be ports";
    assert!(refused.contains(told), "{refused}");
}

#[tokio::test]
async fn the_configurations_of_the_webhooks_follow_the_roots() {
    let cluster = cluster().await;
    let namespace = cluster.namespace("bundle").await;
    let kubectl = cluster.kubectl();
    let configurations = Configurations::of("meshcontrol", &namespace);
    for (kind, resource) in [("Mutating", "mutating"), ("Validating", "validating")] {
        let name = &configurations.mutating;
        let service =
            json!({"name": "meshcontrol", "namespace": namespace, "path": format!("/{resource}")});
        let webhook = |name: &str| {
            json!({
                "name": name, "clientConfig": {"service": service}, "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "failurePolicy": "Ignore",
            })
        };
        let webhooks = [webhook("a.meshproxy.io"), webhook("b.meshproxy.io")];
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}WebhookConfiguration"),
            "metadata": {"name": name},
            "webhooks": webhooks,
        });
        kubectl.apply(&object.to_string()).await;
    }
    let settings = Settings {
        namespace: namespace.clone(),
        name: "bundle".to_owned(),
        identity: "us".to_owned(),
        timing: Timing {
            retry: Duration::from_millis(100),
            ..Timing::default()
        },
    };
    let (contender, leadership) = contend(cluster.client().await, settings);
    let (roots, told) = watch::channel(Some("first".to_owned()));
    let mut tasks = JoinSet::new();
    tasks.spawn(contender.run(std::future::pending()));
    let client = cluster.client().await;
    tasks.spawn(bundle::keep(
        client,
        configurations.clone(),
        told,
        Option::clone,
        leadership,
    ));

    for expected in ["first", "second"] {
        roots.send_replace(Some(expected.to_owned()));
        let expected = json!(STANDARD.encode(expected));
        for resource in [
            "mutatingwebhookconfiguration",
            "validatingwebhookconfiguration",
        ] {
            let look = async || kubectl.get(&[resource, &configurations.mutating]).await;
            let seen = eventually("the roots are there", look, |object| {
                let mut webhooks = object["webhooks"].as_array().into_iter().flatten();
                webhooks.all(|it| it["clientConfig"]["caBundle"] == expected)
            })
            .await;
            // The rest of it is as it was.
            let service = &seen["webhooks"][1]["clientConfig"]["service"];
            assert_eq!(service["namespace"], json!(namespace));
        }
    }
}
