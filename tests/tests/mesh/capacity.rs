//! More than a proxy can take: connections, file descriptors, memory.

use tests::client::get;
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, Wire, eventually};

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";
/// Files that the proxy may have open: enough to start, and few connections.
const FILES: usize = 64;

fn documents(origin: &Origin) -> [String; 2] {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    [service, yaml::routes(HOST, RULES)]
}

async fn rejections(proxy: &Proxy, cause: &str) -> f64 {
    let name = "meshproxy_downstream_rejections_total";
    proxy.metrics().await.sum(name, &[("cause", cause)])
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_and_others_go_on() {
    let origin = Origin::named("app").await;
    let edge = Edge::start_with(&documents(&origin), &["--max-connections", "2"]).await;
    let mut clients = [edge.http1().await, edge.http1().await];
    for client in &mut clients {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    }

    let (heard, _) = edge.wire().await.rest().await;

    assert_eq!(heard, "");
    assert_eq!(rejections(&edge.proxy, "connections_max").await, 1.0);
    for client in &mut clients {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    drop(clients);
    let served = async || {
        let mut client = edge.http1().await;
        client.try_send(get(HOST, "/")).await.is_ok()
    };
    eventually("room again", served, |served| *served).await;
}

#[tokio::test]
async fn without_file_descriptors_connections_are_closed_and_the_proxy_goes_on() {
    let origin = Origin::named("app").await;
    let port = Port::reserve();
    let yaml = yaml::gateway(&port) + &documents(&origin).concat();
    let arguments = ["--max-connections", "10000", "--workers", "1"];
    let proxy = Proxy::start_limited(&yaml, &format!("ulimit -n {FILES}"), &arguments).await;
    let mut first = Http1::connect(port.addr()).await;
    assert_eq!(first.get(HOST, "/").await.brief(), (200, "app"));

    let mut open = Vec::new();
    for _ in 0..2 * FILES {
        open.push(Wire::connect(port.addr()).await);
    }
    // The newest came when there were none left.
    let newest = open.pop().expect("many");
    let (heard, _) = { newest }.rest().await;
    assert_eq!(heard, "");
    assert_eq!(first.get(HOST, "/").await.brief(), (200, "app"));
    drop(open);

    let served = async || {
        let mut client = Http1::connect(port.addr()).await;
        client.try_send(get(HOST, "/")).await.is_ok()
    };
    eventually("room again", served, |served| *served).await;
    assert!(rejections(&proxy, "no_file_descriptors").await > 0.0);
}

#[tokio::test]
async fn with_too_much_memory_in_use_requests_are_refused_and_told_so() {
    let origin = Origin::named("app").await;
    // Less than any proxy needs.
    let arguments = ["--memory-high-water", "8Mi", "--access-log", "json"];
    let edge = Edge::start_with(&documents(&origin), &arguments).await;
    let high = async || {
        edge.proxy
            .metrics()
            .await
            .sum("meshproxy_memory_pressure", &[])
    };
    eventually("too much memory", high, |high| *high == 1.0).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (503, "overloaded"));
    assert_eq!(reply.header("x-envoy-overloaded"), "true");
    assert_eq!(reply.header("x-meshproxy-error"), "memory_high_water");
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(origin.requests(), 0);
    let line = edge
        .proxy
        .stdout
        .line("a line", |line| line.starts_with('{'));
    assert!(line.await.contains(r#""response_flags":"OM""#));
    assert!(rejections(&edge.proxy, "memory_high_water").await >= 1.0);
    assert_eq!(edge.proxy.ready().await, 200, "it lives, and says so");
}

#[tokio::test]
async fn who_waits_for_a_proxy_hears_when_it_is_ready() {
    let origin = Origin::named("app").await;
    let edge = Edge::start(&documents(&origin)).await;
    let url = format!("http://{}/healthz/ready", edge.proxy.health_addr());

    let ready = tests::binary::run(&["wait", "--url", &url]).await;
    let nobody = Port::reserve();
    let nobody = format!("http://{}/healthz/ready", nobody.addr());
    let never = ["wait", "--url", &nobody, "--timeout", "200ms"];
    let never = tests::binary::run(&never).await;

    assert_eq!(ready.status.code(), Some(0));
    assert_eq!(never.status.code(), Some(1));
    let told = String::from_utf8_lossy(&never.stderr);
    assert!(told.contains("is not ready after 200ms"), "{told}");
}
