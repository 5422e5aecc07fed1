//! Health checks: the proxy finds out by itself whether an endpoint works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tests::origin::{Body, Protocol, body, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOST: &str = "checked.test";
const RULES: &str = "
  - retries: {attempts: 0}
    route: [{destination: {host: checked.test}}]
";

fn documents(service: &str, check: &str) -> [String; 3] {
    let annotation = match check {
        "" => String::new(),
        check => format!("meshproxy.io/health-check: '{check}'"),
    };
    let rule = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: checked
  annotations: {{{annotation}}}
spec:
  host: {HOST}
---
"
    );
    [service.to_owned(), rule, yaml::routes(HOST, RULES)]
}

async fn start(addr: SocketAddr, check: &str) -> Edge {
    let service = Service::new(HOST).at(addr).to_string();
    Edge::start(&documents(&service, check)).await
}

/// Answers requests with 200, and checks at `/healthz` with a status that can be set.
async fn patient(status: &Arc<AtomicU16>) -> Origin {
    let status = Arc::clone(status);
    let answer = move |request: http::Request<hyper::body::Incoming>| {
        let said = match request.uri().path() {
            "/healthz" => status.load(Ordering::Relaxed),
            _ => 200,
        };
        let mut response = text("served");
        *response.status_mut() = StatusCode::from_u16(said).expect("a legal status");
        async move { response }
    };
    Origin::serving(Protocol::Http1, answer).await
}

/// The health of the only endpoint.
async fn health(edge: &Edge) -> Value {
    let destinations = edge.proxy.admin("/destinations").await;
    destinations[0]["endpoints"][0]["health"].clone()
}

async fn becomes(edge: &Edge, state: &str) -> Value {
    let look = || health(edge);
    eventually(state, look, |health| health["check"]["state"] == state).await
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let status = Arc::new(AtomicU16::new(204));
    let origin = patient(&status).await;
    let check = "http:/healthz?deep=1;interval=100ms;timeout=20s;unhealthy=2;healthy=2;status=204";
    let edge = start(origin.addr(), check).await;
    let mut client = edge.http1().await;
    assert_eq!(becomes(&edge, "passing").await["available"], true);
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "served"));

    status.store(200, Ordering::Relaxed);
    let failing = becomes(&edge, "failing").await;
    assert_eq!(failing["available"], false);
    assert_eq!(failing["check"]["lastError"], "status 200 OK");
    let reply = client.get(HOST, "/").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-meshproxy-error"), "no_healthy_upstream");
    let metrics = edge.proxy.metrics().await;
    let labels = [("host", HOST)];
    assert_eq!(metrics.sum("meshproxy_health_checks_failing", &labels), 1.0);

    status.store(204, Ordering::Relaxed);
    becomes(&edge, "passing").await;
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "served"));

    let seen = origin.seen();
    let check = seen.iter().find(|seen| seen.target != "/");
    let check = check.expect("the origin was checked");
    assert_eq!(check.target, "/healthz?deep=1");
    assert_eq!(check.authority, HOST);
    assert_eq!(check.header("user-agent"), "meshproxy-health-check");
    let metrics = edge.proxy.metrics().await;
    for result in ["passed", "failed"] {
        let labels = [("result", result)];
        assert!(metrics.sum("meshproxy_health_checks_total", &labels) >= 2.0);
    }
}

#[tokio::test]
async fn one_failure_at_the_beginning_is_enough_and_without_checks_it_does_not_matter() {
    let status = Arc::new(AtomicU16::new(500));
    let origin = patient(&status).await;
    let edge = start(origin.addr(), "http:/healthz;interval=1h;unhealthy=5").await;

    assert_eq!(becomes(&edge, "failing").await["available"], false);
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 503);

    let service = Service::new(HOST).at(origin.addr()).to_string();
    edge.apply(&documents(&service, "")).await;
    let look = || health(&edge);
    let back = eventually("its return", look, |health| health["available"] == true).await;
    assert_eq!(back["check"], Value::Null);
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);
}

#[tokio::test]
async fn a_server_of_grpc_says_itself_whether_it_serves() {
    // SERVING, NOT_SERVING.
    let (serving, other) = (1, 2);
    let status = Arc::new(AtomicU16::new(serving));
    let said = Arc::clone(&status);
    let answer = move |_| {
        let status = said.load(Ordering::Relaxed);
        async move { health_reply(status) }
    };
    let origin = Origin::serving(Protocol::Http2, answer).await;
    let service = Service::new(HOST).protocol("GRPC").at(origin.addr());
    let check = "grpc:shop.Cart;interval=100ms;timeout=20s;unhealthy=1;healthy=1";
    let edge = Edge::start(&documents(&service.to_string(), check)).await;

    becomes(&edge, "passing").await;
    status.store(other, Ordering::Relaxed);
    let failing = becomes(&edge, "failing").await;
    assert_eq!(failing["check"]["lastError"], "not serving");
    status.store(serving, Ordering::Relaxed);
    becomes(&edge, "passing").await;

    let check = origin.last();
    assert_eq!(check.target, "/grpc.health.v1.Health/Check");
    assert_eq!(check.header("content-type"), "application/grpc");
    assert_eq!(check.authority, HOST);
}

/// `HealthCheckResponse` with a status.
fn health_reply(status: u16) -> Response<Body> {
    let status = u8::try_from(status).expect("a small number");
    let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let framed = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body(framed));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

#[tokio::test]
async fn a_check_by_tcp_is_passed_by_who_takes_connections() {
    let port = Port::reserve();
    let edge = start(
        port.addr(),
        "tcp;interval=100ms;timeout=20s;unhealthy=1;healthy=1",
    )
    .await;
    let failing = becomes(&edge, "failing").await;
    let error = failing["check"]["lastError"].as_str().expect("a text");
    assert!(error.starts_with("connect: "), "{error}");

    let answer = |_| async { text("served") };
    let origin = Origin::serving_at(port.addr(), Protocol::Http1, answer).await;
    becomes(&edge, "passing").await;
    assert_eq!(
        edge.http1().await.get(HOST, "/").await.brief(),
        (200, "served")
    );

    origin.end().await;
    becomes(&edge, "failing").await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_its_check_fails_it() {
    let silent = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    for check in ["http:/", "grpc"] {
        let check = format!("{check};interval=200ms;timeout=100ms");
        let edge = start(silent.addr(), &check).await;

        let failing = becomes(&edge, "failing").await;
        if check.starts_with("http") {
            assert_eq!(failing["check"]["lastError"], "no answer within 100ms");
        }
    }
}

#[tokio::test]
async fn checks_can_ask_at_another_port() {
    let (served, asked) = (Origin::named("served").await, Origin::named("asked").await);
    let check = format!(
        "http:/;interval=100ms;timeout=20s;port={}",
        asked.addr().port()
    );
    let edge = start(served.addr(), &check).await;

    becomes(&edge, "passing").await;

    assert!(asked.requests() > 0);
    assert_eq!(served.requests(), 0);
}

#[tokio::test]
async fn endpoints_at_unix_sockets_are_checked_like_others() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket can be bound");
    let serving = tokio::spawn(async move {
        while let Ok((mut unix, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            let _ = unix.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            let _ = unix.write_all(answer).await;
        }
    });
    let service = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: checked}}
spec:
  hosts: [{HOST}]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 'unix://{}'}}]
---
",
        path.display()
    );
    let check = "http:/;interval=100ms;timeout=20s;unhealthy=1";
    let edge = Edge::start(&documents(&service, check)).await;

    becomes(&edge, "passing").await;
    serving.abort();
    becomes(&edge, "failing").await;
}
