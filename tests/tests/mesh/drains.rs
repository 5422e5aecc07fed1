//! How a proxy stops: which direction first, how long, and what can be seen of it.

use std::sync::Arc;

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tests::client::{empty, get, request};
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, eventually};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

/// A workload's proxy: a port for its callers, and one for itself.
struct Sidecar {
    inbound: Port,
    outbound: Port,
    proxy: Proxy,
}

impl Sidecar {
    async fn start(workload: &Origin, other: &Origin, arguments: &[&str]) -> Self {
        let (inbound, outbound) = (Port::reserve(), Port::reserve());
        let sidecar = format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  ingress:
  - port: {{number: {inbound}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}
  egress:
  - port: {{number: {outbound}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
",
            workload.addr().port()
        );
        let yaml = sidecar + &Service::new(HOST).at(other.addr()).to_string();
        let mut all = vec!["--labels", "app=a"];
        all.extend(arguments);
        let proxy = Proxy::start_with(&yaml, &all).await;
        Self {
            inbound,
            outbound,
            proxy,
        }
    }
}

/// Waits until `/drain` of the proxy shows what is wanted.
async fn shows(proxy: &Proxy, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || proxy.admin("/drain"), is_it).await
}

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

async fn drain(proxy: &Proxy, query: &str) -> u16 {
    let path = format!("/drain{query}");
    let post = request(Method::POST, "admin", &path, &[], empty());
    let mut admin = Http1::connect(proxy.admin_addr()).await;
    admin.send(post).await.status.as_u16()
}

#[tokio::test]
async fn callers_leave_first_and_the_workload_is_served_until_it_is_gone() {
    let workload = Origin::named("workload").await;
    let other = Origin::named("other").await;
    let mut sidecar = Sidecar::start(&workload, &other, &[]).await;
    let inbound = sidecar.inbound.addr();
    let mut caller = Http1::connect(inbound).await;
    assert_eq!(caller.get("a.test", "/").await.brief(), (200, "workload"));
    let mut own = Http1::connect(sidecar.outbound.addr()).await;
    assert_eq!(own.get(HOST, "/").await.brief(), (200, "other"));

    sidecar.proxy.signal(Signal::TERM);

    caller.closed().await;
    let refused = async || TcpStream::connect(inbound).await.is_err();
    eventually("no more callers", refused, |refused| *refused).await;
    let shown = shows(&sidecar.proxy, "the end of inbound", |shown| {
        shown["inbound"]["phase"] == "ended"
    })
    .await;
    assert_eq!(shown["outbound"]["phase"], "lingering", "{shown}");
    assert_eq!(shown["exits"], true);
    assert_eq!(own.get(HOST, "/").await.brief(), (200, "other"));
    let mut late = Http1::connect(sidecar.outbound.addr()).await;
    assert_eq!(late.get(HOST, "/").await.header("connection"), "");
    drop((own, late));
    assert_eq!(sidecar.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn callers_who_have_not_heard_of_it_are_served_for_a_while() {
    let origin = Origin::named("app").await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let documents = [service, yaml::routes(HOST, RULES)];
    let mut edge = Edge::start_with(&documents, &["--minimum-drain", "10m"]).await;
    let mut kept = edge.http1().await;
    assert_eq!(kept.get(HOST, "/").await.header("connection"), "");

    edge.proxy.signal(Signal::TERM);
    eventually(
        "a proxy that is not ready",
        || edge.proxy.ready(),
        |it| *it == 503,
    )
    .await;
    let mut fresh = edge.http1().await;
    let reply = fresh.get(HOST, "/").await;
    let mut http2 = edge.http2().await;
    let second = http2.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "app"));
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(second.brief(), (200, "app"));
    assert!(!http2.is_ready().await, "it was told to go elsewhere");
    let shown = edge.proxy.admin("/drain").await;
    assert_eq!(shown["inbound"]["phase"], "telling", "{shown}");
    edge.proxy.signal(Signal::TERM);
    assert_eq!(edge.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn one_direction_can_be_drained_alone_and_its_numbers_are_shown() {
    let gate = Arc::new(Semaphore::new(0));
    let workload = gated(&gate).await;
    let other = Origin::named("other").await;
    let sidecar = Sidecar::start(&workload, &other, &[]).await;
    let proxy = &sidecar.proxy;
    let mut caller = Http1::connect(sidecar.inbound.addr()).await;
    let asking = tokio::spawn(async move { caller.try_send(get("a.test", "/")).await });
    let _idle = Http1::connect(sidecar.outbound.addr()).await;
    let shown = shows(proxy, "a request under way", |shown| {
        shown["inbound"]["requestsUnderWay"] == 1 && shown["outbound"]["openConnections"] == 1
    })
    .await;
    assert_eq!(shown["inbound"]["phase"], "serving");
    assert_eq!(shown["listeners"].as_array().map(Vec::len), Some(2));

    assert_eq!(drain(proxy, "?direction=sideways").await, 400);
    assert_eq!(drain(proxy, "?direction=inbound").await, 200);

    let shown = shows(proxy, "a drain", |shown| {
        shown["inbound"]["phase"] == "closing"
    })
    .await;
    assert_eq!(shown["outbound"]["phase"], "serving", "{shown}");
    assert!(shown["secondsLeft"].as_f64().is_some_and(|it| it > 1.0));
    gate.add_permits(1);
    let reply = asking.await.expect("no panic").expect("an answer");
    assert_eq!(reply.brief(), (200, "finished"));
    shows(proxy, "the end of the drain", |shown| {
        shown["inbound"]["phase"] == "ended"
    })
    .await;
    assert_eq!(proxy.ready().await, 503);
    let mut own = Http1::connect(sidecar.outbound.addr()).await;
    assert_eq!(own.get(HOST, "/").await.brief(), (200, "other"));
}

#[tokio::test]
async fn the_first_signal_after_a_call_to_quit_cuts_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let mut edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
    let mut client = edge.http1().await;
    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    shows(&edge.proxy, "a request under way", |shown| {
        shown["inbound"]["requestsUnderWay"] == 1
    })
    .await;

    let post = request(Method::POST, "admin", "/quitquitquit", &[], empty());
    let mut admin = Http1::connect(edge.proxy.admin_addr()).await;
    assert_eq!(admin.send(post).await.status.as_u16(), 200);
    shows(&edge.proxy, "the way out", |shown| shown["exits"] == true).await;
    edge.proxy.signal(Signal::INT);
    edge.proxy
        .stderr
        .line("more haste", |line| line.contains("manner=Now"))
        .await;
    gate.add_permits(1);

    let answer = asking.await.expect("no panic").expect("an answer");
    assert_eq!(answer.brief(), (200, "finished"));
    assert_eq!(edge.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_closed_and_counted() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let documents = [service, yaml::routes(HOST, RULES)];
    let edge = Edge::start_with(&documents, &["--drain-timeout", "1s"]).await;
    let mut client = edge.http1().await;
    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    shows(&edge.proxy, "a request under way", |shown| {
        shown["inbound"]["requestsUnderWay"] == 1
    })
    .await;

    assert_eq!(drain(&edge.proxy, "").await, 200);

    assert!(asking.await.expect("no panic").is_err());
    let line = edge.proxy.stderr.line("a warning", |line| {
        line.contains("connections left at the end of the drain are closed")
    });
    assert!(line.await.contains("left=1"));
    let metrics = edge.proxy.metrics().await;
    let closed = [("direction", "inbound")];
    let name = "meshproxy_drain_closed_connections_total";
    assert_eq!(metrics.sum(name, &closed), 1.0);
    shows(&edge.proxy, "the end", |shown| {
        shown["inbound"]["phase"] == "ended"
    })
    .await;
}

#[tokio::test]
async fn the_mesh_says_how_long_a_drain_may_last() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate).await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let mesh = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig: {terminationDrainDuration: 1s}
---
";
    let documents = [service, yaml::routes(HOST, RULES), mesh.to_owned()];
    let mut edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;
    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    shows(&edge.proxy, "a request under way", |shown| {
        shown["inbound"]["requestsUnderWay"] == 1
    })
    .await;

    edge.proxy.signal(Signal::TERM);

    assert_eq!(edge.proxy.ended().await.code(), Some(0));
    assert!(asking.await.expect("no panic").is_err());
}
