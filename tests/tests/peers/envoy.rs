//! A hop of mutual TLS between Envoy and us, in both directions: each takes the other's identity, and
//! neither takes one that it should not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::authority::{Authority, IdentityDir};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, eventually};

use crate::process::Running;
use crate::tools;

const HOST: &str = "shop.test";
const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
---
";

/// What the proxies of a hop speak within TLS.
#[derive(Debug, Clone, Copy)]
enum Spoken {
    Http1,
    Http2,
}

/// An Envoy with one listener and one cluster.
struct Envoy {
    _process: Running,
    _folder: TempDir,
    addr: SocketAddr,
}

#[tokio::test]
async fn envoy_calls_a_strict_workload_and_both_know_each_other() {
    for spoken in [Spoken::Http1, Spoken::Http2] {
        let authority = Authority::new("cluster.local");
        let (client, server) = (
            authority.identity_dir("default", "client"),
            authority.identity_dir("default", "server"),
        );
        let origin = Origin::named("shop").await;
        let port = Port::reserve();
        let proxy = strict(&port, &origin, &server).await;

        let expected = "spiffe://cluster.local/ns/default/sa/server";
        let tls = upstream_tls(spoken, &client, expected);
        let envoy = Envoy::start(&bootstrap(spoken, None, Some(tls), port.addr())).await;
        let reply = Http1::connect(envoy.addr).await.get(HOST, "/a").await;

        assert_eq!(reply.brief(), (200, "shop"), "{spoken:?}");
        let seen = origin.seen();
        let told = seen[0].header("x-forwarded-client-cert");
        assert!(
            told.contains("By=spiffe://cluster.local/ns/default/sa/server;"),
            "{told}"
        );
        assert!(
            told.contains("URI=spiffe://cluster.local/ns/default/sa/client"),
            "{told}"
        );
        drop(proxy);
    }
}

#[tokio::test]
async fn an_envoy_of_another_trust_domain_is_refused() {
    let authority = Authority::new("cluster.local");
    let server = authority.identity_dir("default", "server");
    let leaf = authority.leaf_named(&["spiffe://other.example/ns/default/sa/client"], &[]);
    let foreign = IdentityDir::new(&leaf.sign(), &[&authority]);
    let origin = Origin::named("shop").await;
    let port = Port::reserve();
    let proxy = strict(&port, &origin, &server).await;

    let tls = upstream_tls(
        Spoken::Http1,
        &foreign,
        "spiffe://cluster.local/ns/default/sa/server",
    );
    let envoy = Envoy::start(&bootstrap(Spoken::Http1, None, Some(tls), port.addr())).await;
    let reply = Http1::connect(envoy.addr).await.get(HOST, "/a").await;

    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(origin.seen().len(), 0);
    let line = proxy
        .stderr
        .line("the reason", |line| line.contains("trust domain"))
        .await;
    assert!(line.contains("other.example"), "{line}");
}

#[tokio::test]
async fn an_envoy_that_expects_another_server_does_not_talk_to_ours() {
    let authority = Authority::new("cluster.local");
    let (client, server) = (
        authority.identity_dir("default", "client"),
        authority.identity_dir("default", "server"),
    );
    let origin = Origin::named("shop").await;
    let port = Port::reserve();
    let _proxy = strict(&port, &origin, &server).await;

    let tls = upstream_tls(
        Spoken::Http1,
        &client,
        "spiffe://cluster.local/ns/default/sa/other",
    );
    let envoy = Envoy::start(&bootstrap(Spoken::Http1, None, Some(tls), port.addr())).await;
    let reply = Http1::connect(envoy.addr).await.get(HOST, "/a").await;

    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn a_strict_envoy_is_called_and_learns_who_calls() {
    for spoken in [Spoken::Http1, Spoken::Http2] {
        let authority = Authority::new("cluster.local");
        let (client, server) = (
            authority.identity_dir("default", "client"),
            authority.identity_dir("default", "server"),
        );
        let origin = Origin::named("shop").await;
        let tls = downstream_tls(&server);
        let envoy = Envoy::start(&bootstrap(spoken, Some(tls), None, origin.addr())).await;

        let edge = calling(spoken, &envoy, &client, "server").await;
        let reply = edge.http1().await.get(HOST, "/a").await;

        assert_eq!(reply.brief(), (200, "shop"), "{spoken:?}");
        let told = origin.seen()[0]
            .header("x-forwarded-client-cert")
            .to_owned();
        assert!(
            told.contains("URI=spiffe://cluster.local/ns/default/sa/client"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn an_envoy_that_is_another_workload_than_expected_gets_no_request() {
    let authority = Authority::new("cluster.local");
    let (client, server) = (
        authority.identity_dir("default", "client"),
        authority.identity_dir("default", "server"),
    );
    let origin = Origin::named("shop").await;
    let tls = downstream_tls(&server);
    let envoy = Envoy::start(&bootstrap(Spoken::Http1, Some(tls), None, origin.addr())).await;

    let edge = calling(Spoken::Http1, &envoy, &client, "somebody-else").await;
    let reply = edge.http1().await.get(HOST, "/a").await;

    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(origin.seen().len(), 0);
}

/// A sidecar that takes nothing but mutual TLS at `port`, before `origin`.
async fn strict(port: &Port, origin: &Origin, server: &IdentityDir) -> Proxy {
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: server}}
spec:
  ingress:
  - port: {{number: {port}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    defaultEndpoint: {}
---
",
        origin.addr()
    );
    let folder = server.path().display().to_string();
    Proxy::start_with(&(sidecar + STRICT), &["--identity-dir", &folder]).await
}

/// A gateway that sends everything to `envoy` by mutual TLS and expects the service account
/// `account` there.
async fn calling(spoken: Spoken, envoy: &Envoy, client: &IdentityDir, account: &str) -> Edge {
    let rule = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let protocol = match spoken {
        Spoken::Http1 => "HTTP",
        Spoken::Http2 => "HTTP2",
    };
    let tls = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: {HOST}
  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}
---
"
    );
    let service = Service::new(HOST)
        .protocol(protocol)
        .endpoint(envoy.addr, &format!("serviceAccount: {account}"));
    let folder = client.path().display().to_string();
    let documents = [service.to_string(), yaml::routes(HOST, &rule), tls];
    Edge::start_with(&documents, &["--identity-dir", &folder]).await
}

/// The side of Envoy that calls, and that takes only `expected` for the server.
fn upstream_tls(spoken: Spoken, identity: &IdentityDir, expected: &str) -> Value {
    // What Istio has its proxies offer.
    let protocols: &[&str] = match spoken {
        Spoken::Http1 => &["istio-http/1.1", "istio", "http/1.1"],
        Spoken::Http2 => &["istio-h2", "istio", "h2"],
    };
    let mut context = common(protocols, identity, &json!({"exact": expected}));
    context["@type"] = json!(format!("{TLS_API}.UpstreamTlsContext"));
    context["sni"] = json!("outbound_.80_._.shop.test");
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// The side of Envoy that is called, by workloads of the trust domain only.
fn downstream_tls(identity: &IdentityDir) -> Value {
    let callers = json!({"prefix": "spiffe://cluster.local/"});
    // What Istio has its proxies agree to.
    let protocols = &["istio-peer-exchange", "h2", "http/1.1", "http/1.0"];
    let mut context = common(protocols, identity, &callers);
    context["@type"] = json!(format!("{TLS_API}.DownstreamTlsContext"));
    context["require_client_certificate"] = json!(true);
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

const TLS_API: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

fn common(protocols: &[&str], identity: &IdentityDir, peers: &Value) -> Value {
    let file = |name| json!({"filename": identity.file(name).display().to_string()});
    json!({"common_tls_context": {
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": protocols,
        "tls_certificates": [
            {"certificate_chain": file("cert-chain.pem"), "private_key": file("key.pem")},
        ],
        "validation_context": {
            "trusted_ca": file("root-cert.pem"),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peers}],
        },
    }})
}

/// An Envoy between a listener and `upstream`, with TLS on one side.
fn bootstrap(
    spoken: Spoken,
    listener_tls: Option<Value>,
    cluster_tls: Option<Value>,
    upstream: SocketAddr,
) -> Value {
    let address = |addr: SocketAddr| json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    let filters = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{filters}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "hop",
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": true},
        "route_config": {"virtual_hosts": [{
            "name": "any", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{filters}.http.router.v3.Router")},
        }],
    });
    let mut chain = json!({"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
    ]});
    let mut cluster = json!({
        "name": "upstream", "type": "STATIC", "connect_timeout": "10s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]},
        ]},
    });
    if let (Spoken::Http2, Some(_)) = (spoken, &cluster_tls) {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({options: {
            "@type": format!("type.googleapis.com/{options}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    for (place, socket) in [(&mut chain, listener_tls), (&mut cluster, cluster_tls)] {
        if let Some(socket) = socket {
            place["transport_socket"] = socket;
        }
    }
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    json!({
        "admin": {"address": address(any_port)},
        "static_resources": {
            "listeners": [{
                "name": "hop", "address": address(any_port), "filter_chains": [chain],
            }],
            "clusters": [cluster],
        },
    })
}

// === impl Envoy ===

impl Envoy {
    /// Starts it and waits until it listens.
    async fn start(bootstrap: &Value) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let (config, admin) = (
            folder.path().join("envoy.json"),
            folder.path().join("admin"),
        );
        fs::write(&config, bootstrap.to_string()).expect("a temporary file can be written");
        let text = |path: &Path| path.display().to_string();
        let arguments = [
            "--config-path",
            &text(&config),
            "--admin-address-path",
            &text(&admin),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ];
        let process = Running::start(&tools::envoy(), &arguments);
        let admin = async || fs::read_to_string(&admin).ok()?.parse::<SocketAddr>().ok();
        let admin = eventually("the admin address", admin, Option::is_some).await;
        let admin = admin.expect("it was waited for");
        let listener = async || {
            let reply = Http1::connect(admin)
                .await
                .get("envoy", "/listeners?format=json")
                .await;
            let told: Value = serde_json::from_slice(reply.body.as_ref()).ok()?;
            let socket = &told["listener_statuses"][0]["local_address"]["socket_address"];
            let port = socket["port_value"].as_u64()?.try_into().ok()?;
            (port > 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let addr = eventually("a listener", listener, Option::is_some).await;
        Self {
            _process: process,
            _folder: folder,
            addr: addr.expect("it was waited for"),
        }
    }
}
