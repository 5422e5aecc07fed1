//! Mirrors that hang, reset or are slow: requests themselves know nothing of it.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use tests::body::{Large, drain};
use tests::client::{full, request};
use tests::origin::{Protocol, text};
use tests::script::Peer;
use tests::{Edge, Origin, Script};
use tokio::task::JoinSet;

use super::{HOST, RULES, counted, edge, ended};

const MEBIBYTE: usize = 1024 * 1024;
/// Clients at once, each with some requests.
const CLIENTS: usize = 8;
const REQUESTS: usize = 5;
/// Of each request; more than a window, so that a mirror that takes nothing must lose it.
const BODY_BYTES: usize = 8 * MEBIBYTE;
/// What waits for all mirrors of a worker, and the buffers of requests and copies.
const GROWTH_BYTES_MAX: u64 = 80 * 1024 * 1024;

/// An origin that counts bytes.
async fn counting() -> Origin {
    Origin::serving(Protocol::Http1, |request| async move {
        let came = drain(request.into_body()).await;
        text(format!("{:?}", came.ok()))
    })
    .await
}

/// Sends bodies that are larger than a window; all must be answered as if there were no mirror.
async fn upload(edge: &Edge) {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = edge.http1().await;
        clients.spawn(async move {
            for _ in 0..REQUESTS {
                let body = Large::new(BODY_BYTES).boxed();
                let reply = client
                    .send(request(Method::POST, HOST, "/", &[], body))
                    .await;
                assert_eq!(reply.text(), format!("Some({BODY_BYTES})"));
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_takes_nothing_loses_its_copies_and_holds_no_memory() {
    let origin = counting().await;
    // Takes the connection and reads no further than the head.
    let shadow = Script::start(async |mut peer: Peer| {
        peer.head().await;
        std::future::pending().await
    })
    .await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", RULES).await;
    let before = edge.proxy.resident_bytes();

    upload(&edge).await;
    ended(&edge).await;

    assert_eq!(origin.requests(), CLIENTS * REQUESTS);
    let metrics = edge.proxy.metrics().await;
    let ended = |result| metrics.sum("meshproxy_mirrors_total", &[("result", result)]);
    let overflowed = ended("window") + ended("memory");
    // Where the system's own buffers take all that is beyond the window, a copy waits in vain instead.
    let lost = overflowed + ended("timed-out");
    assert_eq!(lost, (CLIENTS * REQUESTS) as f64);
    assert!(overflowed > 0.0, "bodies are larger than a window");
    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_much_slower_loses_its_copies() {
    let origin = counting().await;
    let shadow = Script::start(async |mut peer: Peer| {
        peer.head().await;
        // A thousandth of what the origin takes.
        while !peer.hear(64 * 1024).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", RULES).await;

    upload(&edge).await;
    ended(&edge).await;

    assert_eq!(origin.requests(), CLIENTS * REQUESTS);
    let metrics = edge.proxy.metrics().await;
    let answered = metrics.sum("meshproxy_mirrors_total", &[("result", "answered")]);
    assert_eq!(answered, 0.0);
}

#[tokio::test]
async fn a_mirror_that_resets_is_counted_and_nobody_notices() {
    let origin = Origin::named("shop").await;
    let shadow = Script::start(async |mut peer: Peer| {
        peer.head().await;
        peer.reset();
    })
    .await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", RULES).await;
    let mut client = edge.http1().await;

    for _ in 0..50 {
        let reply = client
            .send(request(Method::POST, HOST, "/", &[], full("ten apples")))
            .await;
        assert_eq!(reply.brief(), (200, "shop"));
    }

    counted(&edge, "broken", 50).await;
    assert_eq!(shadow.heads().len(), 50, "no copy is sent again");
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_has_the_rules_time() {
    let rules = "
  - mirror: {host: shadow.test}
    timeout: 200ms
    route: [{destination: {host: shop.test}}]
";
    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::Http2, "HTTP2")] {
        let origin = Origin::speaking(protocol, "shop").await;
        let shadow = Origin::serving(protocol, |_| std::future::pending()).await;
        let edge = edge(origin.addr(), shadow.addr(), name, rules).await;
        let mut client = edge.http1().await;

        for _ in 0..10 {
            let reply = client
                .send(request(Method::POST, HOST, "/", &[], full("ten apples")))
                .await;
            assert_eq!(reply.brief(), (200, "shop"));
        }

        counted(&edge, "timed-out", 10).await;
        ended(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_hang_are_bounded_in_number() {
    const COPIES_MAX: usize = 1_024;
    let origin = Origin::named("shop").await;
    let shadow = Origin::serving(Protocol::Http2, |_| std::future::pending()).await;
    let documents = [
        tests::yaml::Service::new(HOST)
            .at(origin.addr())
            .to_string(),
        tests::yaml::Service::new(super::SHADOW)
            .protocol("HTTP2")
            .at(shadow.addr())
            .to_string(),
        tests::yaml::routes(HOST, RULES),
    ];
    let edge = Edge::start_with(&documents, &["--workers", "1"]).await;
    let mut client = edge.http1().await;

    for _ in 0..COPIES_MAX + 100 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "shop"));
    }

    let metrics = edge.proxy.metrics().await;
    let too_many = metrics.sum("meshproxy_mirrors_total", &[("result", "too-many")]);
    assert_eq!(too_many, 100.0);
    assert_eq!(
        metrics.sum("meshproxy_mirrors_active", &[]),
        COPIES_MAX as f64
    );
}
