//! Origins that end connections or restart while requests come.

use std::net::SocketAddr;

use tests::origin::{Protocol, SHORT_REQUESTS, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port};
use tokio::task::JoinSet;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

async fn edge(addr: SocketAddr, protocol: &str) -> Edge {
    let service = Service::new(HOST).protocol(protocol).at(addr).to_string();
    Edge::start_with(&[service, yaml::routes(HOST, RULES)], &["--workers", "1"]).await
}

#[tokio::test]
async fn an_origin_that_restarted_is_reached_at_once() {
    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::Http2, "HTTP2")] {
        // Held in between, so that no connection of another test gets the port.
        let held = Port::reserve();
        let addr = held.addr();
        let mut origin = Origin::serving_at(addr, protocol, |_| async { text("0") }).await;
        let edge = edge(addr, name).await;
        let mut client = edge.http1().await;
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "0"));

        for start in 1..=20 {
            origin.end().await;
            let name = start.to_string();
            origin = Origin::serving_at(addr, protocol, move |_| {
                let name = name.clone();
                async move { text(name) }
            })
            .await;
            let reply = client.get(HOST, "/").await;
            assert_eq!(reply.brief(), (200, &*start.to_string()), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn connections_that_an_http2_origin_retires_cost_no_request() {
    const ROUNDS: usize = 20;
    const AT_ONCE: usize = 25;

    let origin = Origin::speaking(Protocol::ShortHttp2, "app").await;
    let edge = edge(origin.addr(), "HTTP2").await;
    let client = edge.http2().await;

    for _ in 0..ROUNDS {
        let mut asking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let mut client = client.clone();
            asking.spawn(async move { client.get(HOST, "/").await });
        }
        for reply in asking.join_all().await {
            assert_eq!(reply.brief(), (200, "app"), "{:?}", reply.headers);
        }
    }

    assert_eq!(
        origin.requests(),
        ROUNDS * AT_ONCE,
        "none was processed twice"
    );
    assert!(origin.connections() > ROUNDS * AT_ONCE / SHORT_REQUESTS / 4);
}

#[tokio::test]
async fn a_connection_is_closed_after_the_requests_that_a_rule_allows() {
    let origin = Origin::named("app").await;
    let limited = |requests: u32| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: {HOST}
  trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: {requests}}}}}}}
---
"
        )
    };
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let documents = [service, limited(5), yaml::routes(HOST, RULES)];
    let edge = Edge::start_with(&documents, &["--workers", "1"]).await;
    let mut client = edge.http1().await;

    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }

    assert_eq!(origin.connections(), 4);
}
