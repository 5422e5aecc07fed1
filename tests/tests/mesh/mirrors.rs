//! Copies of requests for mirrors: what they get. In `trouble` what it costs if they misbehave.

mod bodies;
mod trouble;

use std::net::SocketAddr;

use http::Method;
use http_body_util::BodyExt as _;
use tests::client::{full, get, request};
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, Script, eventually};

const HOST: &str = "shop.test";
const SHADOW: &str = "shadow.test";
const RULES: &str = "
  - mirror: {host: shadow.test}
    route: [{destination: {host: shop.test}}]
";

/// One worker in front of `origin`, with a mirror that speaks `protocol`.
async fn edge(origin: SocketAddr, shadow: SocketAddr, protocol: &str, rules: &str) -> Edge {
    let documents = [
        Service::new(HOST).protocol(protocol).at(origin).to_string(),
        Service::new(SHADOW)
            .protocol(protocol)
            .at(shadow)
            .to_string(),
        yaml::routes(HOST, rules),
    ];
    Edge::start_with(&documents, &["--workers", "1"]).await
}

/// Copies that ended with `result`, once there are `count` of them.
async fn counted(edge: &Edge, result: &str, count: usize) {
    let look = async || {
        let metrics = edge.proxy.metrics().await;
        let ended = metrics.sum("meshproxy_mirrors_total", &[("result", result)]);
        (ended, metrics.sum("meshproxy_mirrors_total", &[]))
    };
    eventually(result, look, |(ended, _)| *ended >= count as f64).await;
    assert_eq!(look().await.0, count as f64, "{result}");
}

/// Waits until no copy is under way.
async fn ended(edge: &Edge) {
    let look = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_mirrors_active", &[])
    };
    eventually("the last copy", look, |active| *active == 0.0).await;
}

#[tokio::test]
async fn a_mirror_gets_the_request_as_it_is_sent() {
    let rules = "
  - match: [{uri: {prefix: /old/}}]
    mirror: {host: shadow.test}
    rewrite: {uri: /new/, authority: inner.test}
    headers: {request: {set: {x-rule: a}}}
    route:
    - destination: {host: shop.test}
      headers: {request: {set: {x-target: b}}}
";
    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::Http2, "HTTP2")] {
        let [origin, shadow] = [
            Origin::speaking(protocol, "shop").await,
            Origin::speaking(protocol, "shadow").await,
        ];
        let edge = edge(origin.addr(), shadow.addr(), name, rules).await;
        let headers = [("x-own", "c")];
        let post = request(
            Method::POST,
            HOST,
            "/old/cart?a=b",
            &headers,
            full("ten apples"),
        );

        let reply = edge.http1().await.send(post).await;
        counted(&edge, "answered", 1).await;

        assert_eq!(reply.brief(), (200, "shop"));
        assert_eq!((origin.requests(), shadow.requests()), (1, 1));
        let (sent, copied) = (origin.last(), shadow.last());
        assert_eq!(
            (sent.header("x-mirrored"), copied.header("x-mirrored")),
            ("", "true")
        );
        for seen in [&sent, &copied] {
            assert_eq!(seen.method, "POST");
            assert_eq!(seen.target, "/new/cart?a=b");
            assert_eq!(seen.authority, "inner.test");
            let edited = ["x-rule", "x-target", "x-own"].map(|name| seen.header(name));
            assert_eq!(edited, ["a", "b", "c"]);
            assert_eq!(seen.header("content-length"), "10");
            assert_eq!(seen.header("x-envoy-attempt-count"), "1");
        }
        let mut rest = copied.headers.clone();
        rest.remove("x-mirrored");
        assert_eq!(rest, sent.headers, "and nothing else is different");
    }
}

#[tokio::test]
async fn a_request_is_copied_once_however_often_it_is_tried() {
    let rules = "
  - mirrors: [{destination: {host: shadow.test}}]
    retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: shop.test}}]
";
    let bodies = |status: fn(usize) -> u16| {
        let tried = std::sync::atomic::AtomicUsize::new(0);
        Origin::serving(Protocol::Http1, move |request| {
            let status = status(tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            async move {
                let body = request.into_body().collect().await.expect("a whole body");
                let mut response = text(body.to_bytes());
                *response.status_mut() = status.try_into().expect("a status");
                response
            }
        })
    };
    let origin = bodies(|tried| if tried < 2 { 503 } else { 200 }).await;
    // What a mirror answers changes nothing.
    let shadow = bodies(|_| 500).await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", rules).await;
    let post = request(Method::POST, HOST, "/", &[], full("ten apples"));

    let reply = edge.http1().await.send(post).await;
    counted(&edge, "answered", 1).await;

    assert_eq!(reply.brief(), (200, "ten apples"));
    assert_eq!((origin.requests(), shadow.requests()), (3, 1));
    assert_eq!(shadow.last().header("content-length"), "10");
}

#[tokio::test]
async fn shares_are_drawn_for_each_mirror_by_itself() {
    const REQUESTS: usize = 1_000;
    let rules = "
  - mirrors:
    - {destination: {host: shadow.test}, percentage: {value: 50}}
    - {destination: {host: none.test}, percentage: {value: 0}}
    - {destination: {host: none.test}, percentage: {value: 20}}
    route: [{destination: {host: shop.test}}]
";
    let [origin, shadow] = [Origin::named("shop").await, Origin::named("shadow").await];
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", rules).await;
    let mut client = edge.http1().await;

    for _ in 0..REQUESTS {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "shop"));
    }
    ended(&edge).await;

    // Six standard deviations of 1 000 draws are 95 and 76.
    let copies = shadow.requests();
    assert!(copies.abs_diff(500) <= 95, "{copies}");
    let metrics = edge.proxy.metrics().await;
    let unknown = [("result", "no-destination")];
    let unknown = metrics.sum("meshproxy_mirrors_total", &unknown);
    assert!((unknown - 200.0).abs() <= 76.0, "{unknown}");
    // Answers are read. A copy that is still under way when the next one begins costs another.
    let connections = shadow.connections();
    assert!(connections < REQUESTS / 20, "{connections} connections");
    let requests = metrics.sum("istio_requests_total", &[]);
    assert_eq!(
        requests, REQUESTS as f64,
        "copies are no requests of a client"
    );
}

#[tokio::test]
async fn what_is_answered_here_or_switches_protocols_is_not_copied() {
    let rules = "
  - match: [{uri: {exact: /fault}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    mirror: {host: shadow.test}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {exact: /answer}}]
    mirror: {host: shadow.test}
    directResponse: {status: 204}
  - mirror: {host: shadow.test}
    route: [{destination: {host: shop.test}}]
";
    let origin = Script::start(async |mut peer: tests::script::Peer| {
        peer.request().await;
        peer.say(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )
        .await;
    })
    .await;
    let shadow = Origin::named("shadow").await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", rules).await;
    let mut client = edge.http1().await;

    assert_eq!(client.get(HOST, "/fault").await.status, 500);
    assert_eq!(client.get(HOST, "/answer").await.status, 204);
    let mut wire = edge.wire().await;
    wire.say(format!(
        "GET /talk HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    ))
    .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101 "));

    let metrics = edge.proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_mirrors_total", &[]), 0.0);
    assert_eq!(shadow.requests(), 0);
}

#[tokio::test]
async fn a_mirror_that_is_not_there_is_counted_and_nobody_notices() {
    let origin = Origin::named("shop").await;
    let dead = Port::reserve();
    let edge = edge(origin.addr(), dead.addr(), "HTTP", RULES).await;
    let mut client = edge.http2().await;

    for _ in 0..20 {
        let reply = client.send(get(HOST, "/")).await;
        assert_eq!(reply.brief(), (200, "shop"));
    }

    counted(&edge, "not-connected", 20).await;
}
