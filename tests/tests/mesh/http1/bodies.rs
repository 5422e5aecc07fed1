//! Where bodies end, and what stands behind them.

use tests::Script;
use tests::script::Peer;

use super::{HOST, edge, logged, with_rules};

/// Answers every request with exactly this.
async fn saying(answer: &'static str) -> Script {
    Script::start(async move |mut peer: Peer| {
        while peer.request().await.is_some() {
            peer.say(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn trailers_pass_both_ways_and_framing_among_them_does_not() {
    let origin = Script::start(async |mut peer: Peer| {
        peer.hear_head().await;
        let mut body = String::new();
        while !body.ends_with("\r\n\r\n") {
            body += &peer.hear(1).await;
        }
        assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        peer.say(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\ncontent-length: 9\r\nx-sum: 2\r\n\r\n",
        )
        .await;
        peer.hear(1).await;
    })
    .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;ext=1\r\nhello\r\n0\r\nX-Sum: 1\r\nTransfer-Encoding: gzip\r\n\r\n"
        ))
        .await;

    let head = client.head().await;
    assert!(
        head.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{head}"
    );
    let body = client.until("\r\n\r\n").await;
    assert_eq!(body, "2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n");
}

#[tokio::test]
async fn what_has_no_body_leaves_the_connection_in_step() {
    for (status, line) in [("204 No Content", ""), ("304 Not Modified", "etag: x\r\n")] {
        let answer = format!("HTTP/1.1 {status}\r\n{line}\r\n");
        let origin = saying(answer.leak()).await;
        let edge = edge(origin.addr(), &[]).await;
        let mut client = edge.wire().await;
        for _ in 0..2 {
            client
                .say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
                .await;
            let head = client.head().await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{head}"
            );
            assert!(
                !head.contains("content-length") && !head.contains("chunked"),
                "{head}"
            );
        }
    }
    let origin = saying("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;
    for _ in 0..2 {
        client
            .say(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(head.contains("\r\ncontent-length: 1000\r\n"), "{head}");
    }
}

#[tokio::test]
async fn the_head_of_an_answer_of_our_own_says_its_length() {
    let rules = "
  - directResponse: {status: 200, body: {string: hello}}
";
    let origin = saying("").await;
    let edge = with_rules(origin.addr(), rules, &[]).await;
    let mut client = edge.wire().await;

    for _ in 0..2 {
        client
            .say(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
    }
    client
        .say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    client.head().await;
    assert_eq!(client.until("hello").await, "hello", "in step");
}

#[tokio::test]
async fn who_speaks_http_1_0_gets_a_body_that_ends_with_the_connection() {
    let origin =
        saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"
        ))
        .await;

    let (answer, orderly) = client.rest().await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello") && orderly, "{answer}");
}

#[tokio::test]
async fn a_body_that_broke_off_cannot_be_taken_for_a_whole_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let origin = Script::start(async move |mut peer: Peer| {
            peer.request().await;
            peer.say(answer).await;
        })
        .await;
        let edge = edge(origin.addr(), &[]).await;

        let mut new = edge.wire().await;
        new.say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
            .await;
        let (read, _) = new.rest().await;
        assert!(!read.ends_with("0\r\n\r\n"), "{read}");
        assert_eq!(logged(&edge).await["response_flags"], "UC");

        let mut old = edge.wire().await;
        old.say(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))
            .await;
        let (read, orderly) = old.rest().await;
        // With a length the client can tell by itself; without one a reset must tell it.
        assert!(read.contains("content-length: 10") || !orderly, "{read}");
    }
}
