//! Two proxies with identities: what goes between them, and what they say of each other.

use super::*;
use tests::{Origin, Port, Proxy};

/// The sidecar of `app`, whose port takes mutual TLS alone.
fn sidecar(port: &Port, app: SocketAddr, mode: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: app}}
spec:
  ingress:
  - port: {{number: {port}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: {app}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: app}}
spec: {{mtls: {{mode: {mode}}}}}
"
    )
}

/// The service behind the sidecar, as others see it.
fn service(addr: SocketAddr, account: &str) -> String {
    let labels = "labels: {app: app, security.istio.io/tlsMode: istio}";
    let more = format!("{labels}, serviceAccount: {account}");
    Service::new(HOST).endpoint(addr, &more).to_string()
}

fn path(folder: &IdentityDir) -> String {
    folder.path().display().to_string()
}

#[tokio::test]
async fn two_proxies_prove_to_each_other_who_they_are_without_a_rule() {
    let ours = Authority::new("cluster.local");
    let (app_id, edge_id) = (
        ours.identity_dir("default", "app"),
        ours.identity_dir("default", "edge"),
    );
    let app = Origin::named("app").await;
    let port = Port::reserve();
    let yaml = sidecar(&port, app.addr(), "STRICT");
    let beside = ["--identity-dir", &path(&app_id), "--access-log", "json"];
    let beside = Proxy::start_with(&yaml, &beside).await;
    let documents = [service(port.addr(), "app"), yaml::routes(HOST, RULES)];
    let own = ["--identity-dir", &path(&edge_id), "--access-log", "json"];
    let edge = Edge::start_with(&documents, &own).await;

    assert_eq!(get(&edge).await.brief(), (200, "app"));

    let (app_id, edge_id) = (
        ours.identity("default", "app"),
        ours.identity("default", "edge"),
    );
    let line = beside
        .stdout
        .line("its line", |it| it.contains("\"GET\""))
        .await;
    assert!(
        line.contains(&format!("\"downstream_peer_uri_san\":\"{edge_id}\"")),
        "{line}"
    );
    assert!(
        line.contains("\"requested_server_name\":\"outbound_.80_._.app.test\""),
        "{line}"
    );
    let line = edge
        .proxy
        .stdout
        .line("its line", |it| it.contains("\"GET\""))
        .await;
    assert!(
        line.contains(&format!("\"upstream_peer_uri_san\":\"{app_id}\"")),
        "{line}"
    );
    let of_app = [
        ("reporter", "destination"),
        ("source_principal", &*edge_id),
        ("connection_security_policy", "mutual_tls"),
    ];
    beside.counts("istio_requests_total", &of_app, 1.0).await;
    let of_edge = [("reporter", "source"), ("destination_principal", &*app_id)];
    edge.proxy
        .counts("istio_requests_total", &of_edge, 1.0)
        .await;
    let metrics = edge.proxy.metrics().await;
    let handshakes = [("side", "upstream"), ("kind", "full")];
    assert_eq!(
        metrics.sum("meshproxy_tls_handshakes_total", &handshakes),
        1.0
    );
    let shown = edge.proxy.admin("/destinations").await;
    assert_eq!(shown[0]["endpoints"][0]["tls"]["verifies"], "identity");
}

#[tokio::test]
async fn a_workload_that_is_not_who_serves_the_host_is_sent_nothing() {
    let ours = Authority::new("cluster.local");
    let (app_id, edge_id) = (
        ours.identity_dir("default", "thief"),
        ours.identity_dir("default", "edge"),
    );
    let app = Origin::named("app").await;
    let port = Port::reserve();
    let yaml = sidecar(&port, app.addr(), "STRICT");
    let _beside = Proxy::start_with(&yaml, &["--identity-dir", &path(&app_id)]).await;
    let documents = [service(port.addr(), "app"), yaml::routes(HOST, RULES)];
    let edge = Edge::start_with(&documents, &["--identity-dir", &path(&edge_id)]).await;

    let reply = get(&edge).await;

    let detail = reply.header("x-meshproxy-error");
    assert_eq!(
        (reply.status.as_u16(), detail),
        (503, "connect_certificate_wrong_identity")
    );
    assert_eq!(app.requests(), 0);
    let reason = [("side", "upstream"), ("reason", "unexpected_identity")];
    let metrics = edge.proxy.metrics().await;
    let failures = "meshproxy_tls_handshake_failures_total";
    assert_eq!(metrics.sum(failures, &reason), 1.0);
}

#[tokio::test]
async fn what_a_workload_takes_is_what_it_is_sent() {
    let ours = Authority::new("cluster.local");
    let (app_id, edge_id) = (
        ours.identity_dir("default", "app"),
        ours.identity_dir("default", "edge"),
    );
    let app = Origin::named("app").await;
    let port = Port::reserve();
    let of_app = |mode: &str| sidecar(&port, app.addr(), mode);
    let policy = |mode: &str| {
        let all = of_app(mode);
        let (_, policy) = all.split_once("---\n").expect("two documents");
        format!("{policy}---\n")
    };
    let beside = ["--identity-dir", &path(&app_id)];
    let beside = Proxy::start_with(&of_app("STRICT"), &beside).await;
    let documents = |mode: &str| {
        let service = service(port.addr(), "app");
        [service, policy(mode), yaml::routes(HOST, RULES)]
    };
    let own = ["--identity-dir", &path(&edge_id)];
    let edge = Edge::start_with(&documents("STRICT"), &own).await;
    let secured = || async {
        let labels = [("connection_security_policy", "mutual_tls")];
        beside.metrics().await.sum("istio_requests_total", &labels)
    };
    assert_eq!(get(&edge).await.brief(), (200, "app"));
    // What is counted follows the answer.
    eventually("it is counted", secured, |count| *count == 1.0).await;

    beside.apply(&of_app("DISABLE")).await;
    edge.apply(&documents("DISABLE")).await;

    assert_eq!(get(&edge).await.brief(), (200, "app"));
    assert_eq!(secured().await, 1.0, "in plain text");
}

#[tokio::test]
async fn a_new_certificate_of_ours_costs_no_request() {
    let ours = Authority::new("cluster.local");
    let (app_id, edge_id) = (
        ours.identity_dir("default", "app"),
        ours.identity_dir("default", "edge"),
    );
    let app = Origin::named("app").await;
    let port = Port::reserve();
    let yaml = sidecar(&port, app.addr(), "STRICT");
    let _beside = Proxy::start_with(&yaml, &["--identity-dir", &path(&app_id)]).await;
    let documents = [service(port.addr(), "app"), yaml::routes(HOST, RULES)];
    let edge = Edge::start_with(&documents, &["--identity-dir", &path(&edge_id)]).await;
    let mut client = edge.http1().await;

    for turn in 0..5 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"), "{turn}");
        let before = edge.proxy.loaded_at().await;
        edge_id.replace(&ours.leaf("default", "edge").sign(), &[&ours]);
        let loaded = || edge.proxy.loaded_at();
        eventually("a new generation", loaded, |now| *now != before).await;
    }

    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    let full = [("side", "upstream")];
    let metrics = edge.proxy.metrics().await;
    let handshakes = metrics.sum("meshproxy_tls_handshakes_total", &full);
    assert_eq!(handshakes, 1.0, "its connection serves on");
}

#[tokio::test]
async fn a_limit_tells_callers_apart_by_whom_they_proved_to_be() {
    let ours = Authority::new("cluster.local");
    let app_id = ours.identity_dir("default", "app");
    let app = Origin::named("app").await;
    let port = Port::reserve();
    let limit = "apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: app}
spec:
  selector: {}
  limits: [{name: each, requests: 1, per: 1h, key: [source.principal]}]
";
    let yaml = sidecar(&port, app.addr(), "STRICT") + "---\n" + limit;
    let _beside = Proxy::start_with(&yaml, &["--identity-dir", &path(&app_id)]).await;
    let documents = [service(port.addr(), "app"), yaml::routes(HOST, RULES)];

    for account in ["cart", "shop"] {
        let own = ours.identity_dir("default", account);
        let edge = Edge::start_with(&documents, &["--identity-dir", &path(&own)]).await;
        let statuses = [get(&edge).await.status, get(&edge).await.status];
        assert_eq!(statuses.map(|it| it.as_u16()), [200, 429], "{account}");
    }
}
