//! A proxy whose program is started anew in its place.

use std::sync::Arc;

use rustix::process::Signal;
use tests::client::get;
use tests::load::{Load, Upstreams};
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Script, eventually};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";
/// Upgrades under load.
const UPGRADES: usize = 100;

async fn edge(origin: &Origin, arguments: &[&str]) -> Edge {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    Edge::start_with(&[service, yaml::routes(HOST, RULES)], arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hundred_upgrades_under_load_cost_no_connection_and_no_answer() {
    let upstreams = Upstreams::start().await;
    let mut edge = Edge::start(&upstreams.documents()).await;
    let addr = edge.port.addr();
    let first = edge.proxy.pid();
    let load = Load::start(move || addr);

    for _ in 0..UPGRADES {
        edge.proxy.upgrade().await;
    }
    let tally = load.end().await;

    eprintln!("{:?}", tally.whole);
    tally.assert_whole();
    assert_ne!(edge.proxy.pid(), first);
    assert_eq!(edge.proxy.ready().await, 200, "health has gone along");
}

#[tokio::test]
async fn the_old_process_finishes_what_it_has_and_ends_well() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let origin = Origin::serving(Protocol::Http1, move |request| {
        let gate = Arc::clone(&opened);
        async move {
            if request.uri().path() == "/gated" {
                gate.acquire().await.expect("an open gate").forget();
            }
            text("app")
        }
    })
    .await;
    let mut edge = edge(&origin, &[]).await;
    let mut client = edge.http1().await;
    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/gated")).await });
    let arrived = async || origin.requests();
    eventually("a request under way", arrived, |requests| *requests == 1).await;

    edge.proxy.upgrade().await;
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);
    gate.add_permits(1);
    let last = asking.await.expect("no panic").expect("an answer");
    let status = edge.proxy.ended().await;

    assert_eq!(last.brief(), (200, "app"));
    assert_eq!(last.header("connection"), "close");
    assert_eq!(status.code(), Some(0));
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);
    edge.proxy.signal(Signal::TERM);
    let refused = async || TcpStream::connect(edge.port.addr()).await.is_err();
    eventually("the end of the new process", refused, |refused| *refused).await;
}

#[tokio::test]
async fn a_program_that_does_not_start_changes_nothing() {
    let origin = Origin::named("app").await;
    let edge = edge(&origin, &[]).await;
    let mut client = edge.http1().await;
    let pid = edge.proxy.pid();
    edge.proxy.refuse("kind: Nonsense").await;

    edge.proxy.signal(Signal::USR2);
    let stderr = &edge.proxy.stderr;
    stderr
        .line("a refusal", |line| line.contains("not replaced"))
        .await;

    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);
    assert_eq!(edge.proxy.ready().await, 200);
    assert_eq!(edge.proxy.pid(), pid);
    let metrics = edge.proxy.metrics().await;
    let failed = metrics.sum("meshproxy_upgrades_total", &[("result", "failure")]);
    assert_eq!(failed, 1.0);
}

/// A proxy that takes three seconds to start: keys that its tokens need never come.
struct Slow {
    edge: Edge,
    _keys: Script,
    _origin: Origin,
}

impl Slow {
    async fn start(arguments: &[&str]) -> Self {
        let keys = Script::start(|mut peer| async move {
            peer.hear_head().await;
            std::future::pending::<()>().await;
        })
        .await;
        let origin = Origin::speaking(Protocol::Http1, "app").await;
        let tokens = format!(
            "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens}}
spec:
  selector: {{matchLabels: {{istio: ingressgateway}}}}
  jwtRules: [{{issuer: a, jwksUri: 'http://{}/keys'}}]
---
",
            keys.addr()
        );
        let service = Service::new(HOST).at(origin.addr()).to_string();
        let documents = [service, yaml::routes(HOST, RULES), tokens];
        Self {
            edge: Edge::start_with(&documents, arguments).await,
            _keys: keys,
            _origin: origin,
        }
    }

    /// Waits for the end of the process that was started anew.
    async fn is_alone_again(&self) {
        let stderr = &self.edge.proxy.stderr;
        let started = stderr
            .line("another process", |line| line.contains("started anew"))
            .await;
        let mut words = started.split_whitespace();
        let pid = words.find_map(|it| it.strip_prefix("pid="));
        let gone = format!("/proc/{}", pid.expect("its number"));
        let is_there = async || std::path::Path::new(&gone).exists();
        eventually("its end", is_there, |there| !there).await;
    }
}

#[tokio::test]
async fn a_program_that_is_not_ready_in_time_is_ended() {
    let slow = Slow::start(&["--upgrade-timeout", "1s"]).await;
    let edge = &slow.edge;

    edge.proxy.signal(Signal::USR2);
    let stderr = &edge.proxy.stderr;
    stderr
        .line("a refusal", |line| line.contains("not ready in time"))
        .await;

    assert_eq!(
        edge.http1().await.get(HOST, "/").await.brief(),
        (200, "app")
    );
    slow.is_alone_again().await;
}

#[tokio::test]
async fn whoever_stops_takes_along_what_was_to_take_its_place() {
    let mut slow = Slow::start(&[]).await;

    slow.edge.proxy.signal(Signal::USR2);
    let stderr = &slow.edge.proxy.stderr;
    stderr
        .line("another process", |line| line.contains("started anew"))
        .await;
    slow.edge.proxy.signal(Signal::TERM);

    slow.is_alone_again().await;
    assert_eq!(slow.edge.proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_written_meanwhile_counts_for_the_new_process() {
    let origin = Origin::named("app").await;
    let mut edge = edge(&origin, &[]).await;
    let other = tests::Port::reserve();
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let more = yaml::gateway(&other).replace("name: edge", "name: more");
    let routes = yaml::routes(HOST, RULES).replace("[edge]", "[edge, more]");
    let yaml = yaml::gateway(&edge.port) + &more + &service + &routes;

    edge.proxy.replace(&yaml);
    edge.proxy.upgrade().await;

    for port in [&edge.port, &other] {
        let addr = port.addr();
        let listens = async || TcpStream::connect(addr).await.is_ok();
        eventually("a listener", listens, |listens| *listens).await;
        assert_eq!(Http1::connect(addr).await.get(HOST, "/").await.status, 200);
    }
}
