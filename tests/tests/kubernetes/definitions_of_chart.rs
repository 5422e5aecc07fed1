//! Definitions of the chart: whether an API server takes them, and takes by them what is written for the
//! mesh.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::Cluster;
use tokio::sync::OnceCell;

/// Kinds that the chart defines, by their groups.
const GROUPS: [&str; 2] = [".istio.io", ".meshproxy.io"];

/// A cluster with the definitions of the chart; others have looser ones.
pub(crate) async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start().await;
            let definitions = workspace().join("charts/meshproxy/crds");
            cluster.kubectl().apply_definitions(&definitions).await;
            cluster
        })
        .await
}

fn workspace() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace
        .expect("the package is in the workspace")
        .to_owned()
}

/// The documents of our kinds in files and folders.
fn documents(paths: &[&str]) -> Vec<Value> {
    let mut found = Vec::new();
    for path in paths {
        let path = workspace().join(path);
        let files = match path.is_dir() {
            false => vec![path],
            true => std::fs::read_dir(&path)
                .expect("a folder can be read")
                .map(|entry| entry.expect("an entry can be read").path())
                .collect(),
        };
        for file in files
            .iter()
            .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
        {
            let text = std::fs::read_to_string(file).expect("a file can be read");
            let read = config::documents::read(file, &text).expect("it is YAML");
            found.extend(read.into_iter().map(|document| document.value));
        }
    }
    let is_ours = |document: &Value| {
        let version = document["apiVersion"].as_str().unwrap_or_default();
        let group = version.split('/').next().unwrap_or_default();
        GROUPS.iter().any(|it| group.ends_with(it)) && group != "install.istio.io"
    };
    found.retain(is_ours);
    found
}

/// One of `kind` with this spec.
fn resource(api_version: &str, kind: &str, spec: &Value) -> String {
    let metadata = json!({"name": "tried", "namespace": "default"});
    let object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    object.to_string()
}

/// What the API server says of an object without storing it; nothing if it would.
async fn refusal(cluster: &Cluster, object: &str) -> Option<String> {
    let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let ran = cluster.kubectl().run(&arguments, object).await;
    (!ran.success).then_some(ran.stderr)
}

#[tokio::test]
async fn definitions_of_the_chart_are_served_without_complaint() {
    let kubectl = cluster().await.kubectl();

    let found = kubectl.get(&["crd"]).await;

    let found = found["items"].as_array().expect("a list").clone();
    assert_eq!(found.len(), control::crd::definitions().len());
    for definition in found {
        let conditions = definition["status"]["conditions"].as_array();
        for condition in conditions.expect("it has conditions") {
            let kind = condition["type"].as_str().expect("a text");
            let is_good = ["NamesAccepted", "Established"].contains(&kind);
            assert!(
                is_good && condition["status"] == "True",
                "{condition} of {}",
                definition["metadata"]["name"]
            );
        }
    }
}

#[tokio::test]
async fn everything_that_the_repository_shows_is_taken() {
    let cluster = cluster().await;
    let mut documents = documents(&[
        "config/testdata/valid",
        "examples/bookinfo",
        "examples/bookinfo/scenarios",
        "examples/bookinfo/kubernetes",
    ]);
    for document in &mut documents {
        // Namespaces are beside the point; the same name twice is not an error of a dry run.
        document["metadata"]["namespace"] = json!("default");
    }
    assert!(documents.len() > 20, "{}", documents.len());

    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    assert_eq!(refusal(cluster, &list.to_string()).await, None);
}

#[tokio::test]
async fn null_is_taken_for_a_field_that_is_not_there() {
    let cluster = cluster().await;
    let spec = json!({
        "hosts": ["reviews"],
        "tls": null,
        "http": [{
            "route": [{"destination": {"host": "reviews"}}],
            "redirect": null,
            "timeout": null,
            "corsPolicy": {"unmatchedPreflights": null},
            "match": [{"headers": {"x": null}, "uri": {"exact": "/", "prefix": null}}],
        }],
    });

    let object = resource("networking.istio.io/v1", "VirtualService", &spec);
    assert_eq!(refusal(cluster, &object).await, None);
}

#[tokio::test]
async fn a_number_may_be_written_as_a_text_where_files_may_do_so() {
    let cluster = cluster().await;
    let spec = json!({
        "host": "reviews",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"useSourceIp": true, "minimumRingSize": "1024"}},
            "retryBudget": {"percent": "20.5"},
            "connectionPool": {"tcp": {"maxConnections": 10.0}},
        },
    });

    let object = resource("networking.istio.io/v1beta1", "DestinationRule", &spec);
    assert_eq!(refusal(cluster, &object).await, None);
}

/// Mistakes that the definitions themselves find: kind, spec and what is told.
#[rustfmt::skip]
const MISTAKES: [(&str, &str, &str); 17] = [
    ("VirtualService", r#"{"hosts": ["a"]}"#, "must have at least one rule in http, tls or tcp"),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"name": "x"}]}"#, "must have one of route, redirect, directResponse and delegate"),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"redirect": {}, "directResponse": {"status": 200}}]}"#, "must not be set together with redirect"),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"route": [{"destination": {"host": "b"}, "weight": -1}]}]}"#, "weight: must not be negative"),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"route": [{"destination": {"host": "b"}}], "match": [{"uri": {"exact": "/a", "prefix": "/b"}}]}]}"#, "must have exactly one of exact, prefix and regex"),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"rout": []}]}"#, "unknown field \"spec.http[0].rout\""),
    ("VirtualService", r#"{"hosts": ["a"], "http": [{"redirect": {}, "timeout": 5}]}"#, "spec.http[0].timeout"),
    ("DestinationRule", r#"{"host": ""}"#, "host: is required"),
    ("DestinationRule", r#"{"host": "a", "subsets": [{"labels": {"a": "b"}}]}"#, "name: is required"),
    ("Gateway", r#"{"servers": [{"hosts": ["*"]}]}"#, "port: is required"),
    ("ServiceEntry", r#"{"resolution": "DNS"}"#, "hosts: must have at least one host"),
    ("ServiceEntry", r#"{"hosts": ["a.b"], "resolution": "dns"}"#, "Unsupported value: \"dns\""),
    ("PeerAuthentication", r#"{"portLevelMtls": {"80": {"mode": "STRICT"}}}"#, "must not be set without a selector"),
    ("AuthorizationPolicy", r#"{"action": "DENY"}"#, "rules: is required"),
    ("AuthorizationPolicy", r#"{"action": "CUSTOM", "rules": [{}]}"#, "provider.name: is required"),
    ("RequestAuthentication", r#"{"selector": {}, "targetRef": {"kind": "Service", "name": "a"}}"#, "must have only one of"),
    ("RateLimitPolicy", r#"{"scope": "SHARED"}"#, "service: is required"),
];

#[tokio::test]
async fn common_mistakes_are_found_without_a_webhook() {
    let cluster = cluster().await;
    for (kind, spec, told) in MISTAKES {
        let version = match kind {
            "RateLimitPolicy" => "policy.meshproxy.io/v1alpha1",
            kind if kind.ends_with("Authentication") || kind.ends_with("Policy") => {
                "security.istio.io/v1"
            }
            _ => "networking.istio.io/v1",
        };
        let value: Value = serde_json::from_str(spec).expect("it is JSON");

        let refused = refusal(cluster, &resource(version, kind, &value)).await;

        let refused = refused.unwrap_or_else(|| panic!("{kind} {spec} is taken"));
        assert!(refused.contains(told), "{kind} {spec}: {refused}");
    }
}
