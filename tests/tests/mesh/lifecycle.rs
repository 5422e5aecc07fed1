//! Start and stop: what is refused, what is finished, and with which exit code.

use std::net::TcpListener;
use std::process::Output;
use std::sync::Arc;

use rustix::process::Signal;
use tests::binary::run;
use tests::client::get;
use tests::origin::{Protocol, text};
use tests::wait::PATIENCE;
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Reply, eventually, soon};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

/// An origin whose answers wait for a permit.
async fn gated(gate: &Arc<Semaphore>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::serving(Protocol::Http1, move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.expect("an open gate").forget();
            text("finished")
        }
    })
    .await
}

async fn edge(origin: &Origin) -> Edge {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    Edge::start(&[service, yaml::routes(HOST, RULES)]).await
}

/// Runs a proxy that cannot start with `yaml`.
async fn failing(yaml: &str) -> (Output, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("mesh.yaml");
    std::fs::write(&file, yaml).expect("a temporary file can be written");
    let arguments = [
        "--labels",
        "istio=ingressgateway",
        "--bind",
        "127.0.0.1",
        "--config",
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(file.display().to_string());
    for server in ["admin", "metrics", "health"] {
        arguments.extend([format!("--{server}-addr"), "127.0.0.1:0".to_owned()]);
    }
    let output = run(&arguments).await;
    let name = file.display().to_string();
    let stderr = String::from_utf8_lossy(&output.stderr).replace(&name, "mesh.yaml");
    (output, stderr)
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_proxy_ends() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let mut edge = edge(&origin).await;
    let mut client = edge.http1().await;
    let idle = edge.http1().await;
    let addr = edge.port.addr();

    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    let arrived = async || origin.requests();
    eventually("the request at the origin", arrived, |requests| {
        *requests == 1
    })
    .await;
    edge.proxy.signal(Signal::TERM);
    eventually(
        "the proxy to drain",
        || edge.proxy.ready(),
        |status| *status == 503,
    )
    .await;
    let refused = async || TcpStream::connect(addr).await.is_err();
    eventually("no more connections", refused, |refused| *refused).await;
    eventually(
        "the end of an idle connection",
        async || idle.is_closed(),
        |it| *it,
    )
    .await;
    gate.add_permits(1);
    let reply = asking.await.expect("a client that does not panic");
    let status = edge.proxy.ended().await;

    assert_eq!(reply.expect("an answer").brief(), (200, "finished"));
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_proxy_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let mut edge = edge(&origin).await;
    let mut client = edge.http1().await;

    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    let arrived = async || origin.requests();
    eventually("the request at the origin", arrived, |requests| {
        *requests == 1
    })
    .await;
    edge.proxy.signal(Signal::TERM);
    eventually(
        "the proxy to drain",
        || edge.proxy.ready(),
        |status| *status == 503,
    )
    .await;
    let start = std::time::Instant::now();
    edge.proxy.signal(Signal::INT);
    let status = edge.proxy.ended().await;

    assert_eq!(status.code(), Some(0));
    assert!(
        start.elapsed() < PATIENCE / 2,
        "it did not wait for the request"
    );
    assert!(asking.await.expect("a client that does not panic").is_err());
}

#[tokio::test]
async fn an_idle_proxy_ends_at_once() {
    let origin = Origin::named("app").await;
    let mut edge = edge(&origin).await;
    let mut client = edge.http1().await;
    client.get(HOST, "/").await;

    edge.proxy.signal(Signal::INT);

    assert_eq!(edge.proxy.ended().await.code(), Some(0));
    client.closed().await;
}

#[tokio::test]
async fn an_http2_connection_is_told_to_end_and_finishes_what_it_has() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let mut edge = edge(&origin).await;
    let mut client = edge.http2().await;

    let asking = tokio::spawn(async move { client.begin(get(HOST, "/")).await });
    let arrived = async || origin.requests();
    eventually("the request at the origin", arrived, |requests| {
        *requests == 1
    })
    .await;
    edge.proxy.signal(Signal::TERM);
    eventually(
        "the proxy to drain",
        || edge.proxy.ready(),
        |status| *status == 503,
    )
    .await;
    gate.add_permits(1);
    let response = asking
        .await
        .expect("a client that does not panic")
        .expect("an answer");
    let reply = soon("the answer", Reply::of(response)).await;

    assert_eq!(reply.expect("a whole answer").brief(), (200, "finished"));
    assert_eq!(edge.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_admin_server_can_end_the_proxy() {
    let origin = Origin::named("app").await;
    let mut edge = edge(&origin).await;
    let quit = tests::client::request(
        http::Method::POST,
        "admin",
        "/quitquitquit",
        &[],
        tests::client::empty(),
    );

    let reply = Http1::connect(edge.proxy.admin_addr())
        .await
        .send(quit)
        .await;

    assert_eq!(reply.status, 200);
    assert_eq!(edge.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_broken_file_is_refused_at_the_start_with_the_place_of_each_mistake() {
    let yaml = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  http:
  - route: [{destination: {host: a.test}}]
    timeuot: 5s
  - match: [{uri: {prefx: /}}]
    route: [{destination: {host: a.test}}]
";
    let (output, stderr) = failing(yaml).await;

    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("mesh.yaml:8:5: spec.http[0].timeuot"),
        "{stderr}"
    );
    assert!(
        stderr.contains("timeout"),
        "the right name is suggested: {stderr}"
    );
    assert!(
        stderr.contains("mesh.yaml:9:"),
        "every mistake is told: {stderr}"
    );
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_line() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = holder
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    let yaml = format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - hosts: ['*']
    port: {{name: http, number: {port}, protocol: HTTP}}
"
    );

    let (output, stderr) = failing(&yaml).await;

    assert_eq!(output.status.code(), Some(1));
    let last = stderr.lines().last().unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    assert!(
        last.starts_with("meshproxy: ") && last.contains(&address),
        "{stderr}"
    );
    assert!(last.contains("in use"), "{stderr}");
}

#[tokio::test]
async fn a_missing_file_is_told_in_one_line() {
    let arguments = [
        "--config",
        "/nonexistent/mesh.yaml",
        "--admin-addr",
        "127.0.0.1:0",
    ];

    let output = run(&arguments).await;

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("/nonexistent/mesh.yaml"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_flag_is_a_usage_error() {
    let output = run(&["--configuration", "x"]).await;

    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("--config"),
        "the right flag is suggested: {stderr}"
    );
}

#[tokio::test]
async fn a_gateway_for_other_labels_is_not_opened() {
    let port = Port::reserve();
    let other = Port::reserve();
    let yaml = yaml::gateway(&port)
        + &yaml::gateway(&other)
            .replace("name: edge", "name: inner")
            .replace("istio: ingressgateway", "istio: other");

    let proxy = tests::Proxy::start(&yaml).await;

    assert!(TcpStream::connect(port.addr()).await.is_ok());
    assert!(TcpStream::connect(other.addr()).await.is_err());
    assert_eq!(
        proxy.admin("/listeners").await.as_array().map(Vec::len),
        Some(1)
    );
}
