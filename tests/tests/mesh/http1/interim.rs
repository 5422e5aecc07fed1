//! Interim answers (RFC 9110 §15.2) and the leave to send a body (§10.1.1).

use tests::Script;
use tests::script::Peer;

use super::{HOST, edge};

fn post(version: &str, more: &str) -> String {
    format!("POST / HTTP/{version}\r\nHost: {HOST}\r\nContent-Length: 5\r\n{more}\r\n")
}

const EXPECT: &str = "Expect: 100-continue\r\n";

/// Gives leave, takes the body, and answers with it.
async fn polite(mut peer: Peer) {
    let head = peer.hear_head().await;
    assert!(head.contains("Expect: 100-continue"), "{head}");
    peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    let body = peer.hear(5).await;
    peer.answer(&body).await;
}

#[tokio::test]
async fn a_client_that_expects_leave_gets_the_upstreams() {
    let origin = Script::start(polite).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(post("1.1", EXPECT)).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("hello").await;

    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(client.until("hello").await, "hello");
}

#[tokio::test]
async fn a_refusal_comes_before_the_body_is_sent() {
    let origin = Script::start(async |mut peer: Peer| {
        peer.hear_head().await;
        peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
            .await;
        assert_eq!(peer.hear(1).await, "", "nobody sends the body");
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(post("1.1", EXPECT)).await;

    let (answer, _) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 Too Large\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_gives_no_leave_gets_the_body_in_the_end() {
    let origin = Script::start(async |mut peer: Peer| {
        peer.hear_head().await;
        let body = peer.hear(5).await;
        peer.answer(&body).await;
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(post("1.1", EXPECT)).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("hello").await;

    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn who_sends_the_body_at_once_needs_no_leave() {
    let origin = Script::start(polite).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(post("1.1", EXPECT) + "hello").await;

    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn hints_reach_those_who_can_take_them() {
    let origin = Script::start(async |mut peer: Peer| {
        while peer.request().await.is_some() {
            peer.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
                .await;
            peer.say("HTTP/1.1 102 Processing\r\n\r\n").await;
            peer.answer("ok").await;
        }
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;

    let mut new = edge.wire().await;
    new.say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    let hint = new.head().await;
    assert_eq!(hint, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    assert_eq!(new.head().await, "HTTP/1.1 102 Processing\r\n\r\n");
    assert!(new.head().await.starts_with("HTTP/1.1 200 OK"));

    let mut old = edge.wire().await;
    old.say(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert!(old.head().await.starts_with("HTTP/1.0 200 OK"));
}

#[tokio::test]
async fn endless_hints_are_no_answer() {
    let origin = Script::start(async |mut peer: Peer| {
        while peer.request().await.is_some() {
            for _ in 0..100 {
                peer.say("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            }
        }
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        ))
        .await;

    let (answer, _) = client.rest().await;
    assert!(answer.contains("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
}
