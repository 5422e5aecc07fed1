//! Retries. In this file the default ones: only what provably was not processed is tried again.

mod bodies;
mod frames;
mod grpc;
mod limits;
mod moments;
mod streams;

use std::net::SocketAddr;

use http::Method;
use tests::client::{full, request};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, Reply, Script};

const HOST: &str = "flaky.test";
const PLAIN: &str = "
  - route: [{destination: {host: flaky.test}}]
";
const NO_RETRIES: &str = "
  - retries: {attempts: 0}
    route: [{destination: {host: flaky.test}}]
";

async fn edge(endpoints: &[SocketAddr], rules: &str) -> Edge {
    let service = Service::new(HOST);
    let service = endpoints
        .iter()
        .fold(service, |service, addr| service.at(*addr));
    // One worker, so that a second request finds the connection of the first.
    Edge::start_with(
        &[service.to_string(), yaml::routes(HOST, rules)],
        &["--workers", "1"],
    )
    .await
}

async fn post(edge: &Edge) -> Reply {
    let post = request(Method::POST, HOST, "/", &[], full("order"));
    edge.http1().await.send(post).await
}

/// Retries that the proxy counted.
async fn retries(edge: &Edge) -> f64 {
    edge.proxy
        .metrics()
        .await
        .sum("meshproxy_retries_total", &[])
}

/// Answers one request per connection properly and resets the connection at the next one.
async fn one_answer_then_reset(mut peer: Peer) {
    if peer.request().await.is_some() {
        peer.answer("answered").await;
        peer.request().await;
        peer.reset();
    }
}

/// Takes a request and resets the connection.
async fn reset_at_once(mut peer: Peer) {
    peer.request().await;
    peer.reset();
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_hidden_from_clients() {
    let origin = Origin::named("alive").await;
    // Held but not listened at: connections are refused.
    let dead = Port::reserve();
    let edge = edge(&[dead.addr(), origin.addr()], PLAIN).await;
    let mut client = edge.http1().await;

    for _ in 0..100 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "alive"));
    }
    for _ in 0..20 {
        assert_eq!(
            post(&edge).await.brief(),
            (200, "alive"),
            "nothing was sent yet"
        );
    }

    assert_eq!(origin.requests(), 120);
    assert!(retries(&edge).await > 0.0, "the other endpoint was tried");
}

#[tokio::test]
async fn without_attempts_a_refused_connection_shows() {
    let dead = Port::reserve();
    let edge = edge(&[dead.addr()], NO_RETRIES).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-meshproxy-error"), "connect_refused");
    assert!(
        !reply.text().contains("127.0.0.1"),
        "no address leaks: {}",
        reply.text()
    );
    assert_eq!(retries(&edge).await, 0.0);
}

#[tokio::test]
async fn when_no_endpoint_takes_connections_the_client_learns_it() {
    let dead = Port::reserve();
    let edge = edge(&[dead.addr()], PLAIN).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert!(
        reply.text().starts_with("upstream connect error"),
        "{}",
        reply.text()
    );
    assert!(retries(&edge).await >= 1.0);
}

#[tokio::test]
async fn a_post_that_was_reset_after_it_was_sent_is_not_repeated() {
    let origin = Script::start(reset_at_once).await;
    let edge = edge(&[origin.addr()], PLAIN).await;

    let reply = post(&edge).await;

    assert_eq!(reply.status, 503);
    assert_eq!(origin.heads().len(), 1, "the origin may have processed it");
    assert_eq!(retries(&edge).await, 0.0);
}

#[tokio::test]
async fn a_get_that_was_reset_on_a_fresh_connection_is_not_repeated() {
    let origin = Script::start(reset_at_once).await;
    let edge = edge(&[origin.addr()], PLAIN).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert_eq!(origin.heads().len(), 1);
}

#[tokio::test]
async fn a_get_on_a_connection_that_was_reused_too_late_is_repeated() {
    let origin = Script::start(one_answer_then_reset).await;
    let edge = edge(&[origin.addr()], PLAIN).await;
    let mut client = edge.http1().await;

    assert_eq!(client.get(HOST, "/1").await.brief(), (200, "answered"));
    assert_eq!(client.get(HOST, "/2").await.brief(), (200, "answered"));

    let heads = origin.heads();
    let paths: Vec<&str> = heads
        .iter()
        .filter_map(|head| head.split(' ').nth(1))
        .collect();
    assert_eq!(paths, ["/1", "/2", "/2"]);
    let metrics = edge.proxy.metrics().await;
    let cause = [("cause", "reset-before-response")];
    assert_eq!(metrics.sum("meshproxy_retries_total", &cause), 1.0);
}

#[tokio::test]
async fn a_post_on_a_connection_that_was_reused_too_late_is_not_repeated() {
    let origin = Script::start(one_answer_then_reset).await;
    let edge = edge(&[origin.addr()], PLAIN).await;

    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);
    assert_eq!(post(&edge).await.status, 503);

    let posts = origin
        .heads()
        .iter()
        .filter(|head| head.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn connections_that_an_origin_closed_meanwhile_cost_no_request() {
    // Closes after each answer without having announced it.
    let origin = Script::start(async |mut peer: Peer| {
        if peer.request().await.is_some() {
            peer.answer("answered").await;
        }
    })
    .await;
    let edge = edge(&[origin.addr()], PLAIN).await;
    let mut client = edge.http1().await;

    for _ in 0..100 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "answered"));
    }
}
