//! A proxy beside one workload: what comes in, and what goes out by explicit listeners.

use tests::origin::Protocol;
use tests::yaml::Service;
use tests::{Http1, Origin, Port, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const REVIEWS: &str = "reviews.default.svc.cluster.local";

/// A `Sidecar` with these listeners.
fn sidecar(listeners: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
{}
---
",
        listeners.trim_matches('\n')
    )
}

/// An egress listener for everything that is visible.
fn egress(port: &Port) -> String {
    sidecar(&format!(
        "  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']"
    ))
}

#[tokio::test]
async fn what_comes_in_reaches_the_own_workload() {
    let origin = Origin::named("workload").await;
    let port = Port::reserve();
    let yaml = sidecar(&format!(
        "  ingress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}",
        origin.addr().port()
    ));
    let proxy = Proxy::start_with(&yaml, &["--labels", "app=reviews,version=v2"]).await;
    let mut client = Http1::connect(port.addr()).await;

    for host in [REVIEWS, "reviews:9080", "whatever.test"] {
        assert_eq!(
            client.get(host, "/a?b=c").await.brief(),
            (200, "workload"),
            "{host}"
        );
        assert_eq!(origin.last().authority, host);
        assert_eq!(origin.last().target, "/a?b=c");
    }

    let labels = [("reporter", "destination"), ("destination_version", "v2")];
    proxy.counts("istio_requests_total", &labels, 3.0).await;
}

#[tokio::test]
async fn a_workload_reaches_services_by_each_of_their_names() {
    let origin = Origin::named("reviews").await;
    let port = Port::reserve();
    let yaml = egress(&port) + &Service::new(REVIEWS).at(origin.addr()).to_string();
    let _proxy = Proxy::start(&yaml).await;
    let mut client = Http1::connect(port.addr()).await;

    for host in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        REVIEWS,
        "REVIEWS.default",
        "reviews:80",
    ] {
        assert_eq!(
            client.get(host, "/").await.brief(),
            (200, "reviews"),
            "{host}"
        );
    }
    for host in [
        "reviews.other",
        "review",
        "reviews.default.svc.cluster",
        "reviews:81",
    ] {
        assert_eq!(client.get(host, "/").await.status, 404, "{host}");
    }
}

#[tokio::test]
async fn a_client_may_use_it_as_its_forward_proxy() {
    let origin = Origin::named("reviews").await;
    let port = Port::reserve();
    let yaml = egress(&port) + &Service::new(REVIEWS).at(origin.addr()).to_string();
    let _proxy = Proxy::start(&yaml).await;

    let mut tcp = TcpStream::connect(port.addr())
        .await
        .expect("the listener is open");
    let request = format!(
        "GET http://{REVIEWS}/page?x=1 HTTP/1.1\r\nhost: ignored.test\r\nconnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes())
        .await
        .expect("a request is taken");
    let mut answer = String::new();
    let read = tests::soon("an answer", tcp.read_to_string(&mut answer)).await;
    read.expect("an answer in full");

    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = origin.last();
    assert_eq!((&*seen.target, &*seen.authority), ("/page?x=1", REVIEWS));
}

#[tokio::test]
async fn virtual_services_of_the_mesh_apply_to_what_goes_out() {
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let port = Port::reserve();
    let service = Service::new(REVIEWS)
        .version(origins[0].addr(), "v1")
        .version(origins[1].addr(), "v2");
    let rules = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}, sourceNamespace: default}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{sourceNamespace: elsewhere}]
    directResponse: {status: 500}
  - match: [{gateways: [some-gateway]}]
    directResponse: {status: 500}
  - route: [{destination: {host: reviews, subset: v1}}]
---
";
    let yaml = [
        egress(&port),
        service.to_string(),
        tests::yaml::subsets(REVIEWS, &["v1", "v2"]),
        rules.to_owned(),
    ];
    let _proxy = Proxy::start(&yaml.concat()).await;
    let mut client = Http1::connect(port.addr()).await;

    let jason = client
        .get_with("reviews", "/", &[("end-user", "jason")])
        .await;
    let other = client.get("reviews", "/").await;

    assert_eq!(jason.brief(), (200, "v2"));
    assert_eq!(other.brief(), (200, "v1"));
}

#[tokio::test]
async fn services_are_told_apart_by_port() {
    let origins = [
        Origin::named("web").await,
        Origin::speaking(Protocol::Http2, "grpc").await,
    ];
    let port = Port::reserve();
    let service = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews}}
spec:
  hosts: [{REVIEWS}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  - {{number: 9090, name: grpc, protocol: GRPC}}
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {}, grpc: {}}}}}
",
        origins[0].addr().port(),
        origins[1].addr().port()
    );
    let _proxy = Proxy::start(&(egress(&port) + &service)).await;
    let mut client = Http1::connect(port.addr()).await;

    assert_eq!(client.get("reviews", "/").await.brief(), (200, "web"));
    assert_eq!(client.get("reviews:9090", "/").await.brief(), (200, "grpc"));
    assert_eq!(client.get("reviews:9091", "/").await.status, 404);
}

#[tokio::test]
async fn services_of_other_namespaces_are_seen_only_when_exported() {
    let origins = [
        Origin::named("public").await,
        Origin::named("private").await,
    ];
    let port = Port::reserve();
    let service = |name: &str, export: &str, origin: &Origin| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: other}}
spec:
  hosts: [{name}.other.svc.cluster.local]
  exportTo: ['{export}']
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {}}}}}]
---
",
            origin.addr().port()
        )
    };
    let yaml = [
        egress(&port).replace("./*", "*/*"),
        service("public", "*", &origins[0]),
        service("private", ".", &origins[1]),
    ];
    let _proxy = Proxy::start(&yaml.concat()).await;
    let mut client = Http1::connect(port.addr()).await;

    assert_eq!(
        client.get("public.other", "/").await.brief(),
        (200, "public")
    );
    assert_eq!(client.get("private.other", "/").await.status, 404);
    assert_eq!(origins[1].requests(), 0);
}

#[tokio::test]
async fn what_did_not_reach_the_own_workload_is_tried_again_unless_it_is_grpc() {
    let dead = Port::reserve();
    let port = Port::reserve();
    let yaml = sidecar(&format!(
        "  ingress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{dead}"
    ));
    let proxy = Proxy::start_with(&yaml, &["--access-log", "json"]).await;
    let mut client = Http1::connect(port.addr()).await;
    let call = [("content-type", "application/grpc")];

    assert_eq!(client.get(REVIEWS, "/plain").await.status, 503);
    let reply = client.get_with(REVIEWS, "/call", &call).await;
    assert_eq!(reply.header("grpc-status"), "14");

    for (path, attempts, flags) in [("/plain", 3, "URX,UF"), ("/call", 1, "UF")] {
        let line = proxy.stdout.line(path, |line| line.contains(path)).await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
        assert_eq!(line["attempts"], attempts, "{path}");
        assert_eq!(line["response_flags"], flags, "{path}");
    }
}
