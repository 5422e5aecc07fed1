//! Clients that keep us waiting are not waited for for ever, and do not keep others from being served.

use http_body_util::BodyExt as _;
use tests::origin::{Protocol, body, text};
use tests::script::Peer;
use tests::{Origin, Script, eventually};

use super::{HOST, edge, logged};

async fn active(edge: &tests::Edge) -> f64 {
    let metrics = edge.proxy.metrics().await;
    metrics.sum("meshproxy_downstream_connections_active", &[])
}

#[tokio::test]
async fn a_slow_head_is_answered_408() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &["--request-head-timeout", "1s"]).await;
    let mut client = edge.wire().await;

    client.say("GET / HTTP/1.1\r\nHost:").await;

    let (answer, _) = client.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    let line = logged(&edge).await;
    assert_eq!(line["response_flags"], "DT");
    assert_eq!(line["response_code_details"], "request_head_timeout");
}

#[tokio::test]
async fn a_body_that_pauses_is_answered_408_whatever_the_upstream_speaks() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let origin = Origin::serving(protocol, async |request| {
            let _ = request.into_body().collect().await;
            text("whole")
        })
        .await;
        let name = if protocol == Protocol::Http2 {
            "HTTP2"
        } else {
            "HTTP"
        };
        let service = tests::yaml::Service::new(HOST)
            .protocol(name)
            .at(origin.addr());
        let edge = tests::Edge::start_with(
            &[service.to_string(), tests::yaml::routes(HOST, super::RULES)],
            &["--client-stall-timeout", "1s", "--access-log", "json"],
        )
        .await;
        let mut client = edge.wire().await;

        client
            .say(format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf"
            ))
            .await;

        let (answer, _) = client.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{name}: {answer}"
        );
        let line = logged(&edge).await;
        assert_eq!(line["response_flags"], "SI", "{name}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let endless = http_body_util::Full::new(bytes::Bytes::from(vec![b'x'; 64 << 20]));
    let origin = Origin::serving(Protocol::Http1, move |_| {
        let endless = endless.clone();
        async move { http::Response::new(body(endless)) }
    })
    .await;
    let edge = edge(origin.addr(), &["--client-stall-timeout", "1s"]).await;
    let mut client = edge.wire().await;

    client
        .say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;

    eventually(
        "the end of the connection",
        async || active(&edge).await,
        |it| *it == 0.0,
    )
    .await;
    assert!(logged(&edge).await["bytes_sent"].as_u64() < Some(64 << 20));
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_after_a_while() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &["--client-idle-timeout", "1s"]).await;

    let mut silent = edge.wire().await;
    let mut rested = edge.wire().await;
    rested
        .say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
        .await;
    assert!(rested.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    rested.until("app").await;

    assert_eq!(rested.rest().await, (String::new(), true));
    assert_eq!(silent.rest().await, (String::new(), true));
    eventually(
        "the end of both",
        async || active(&edge).await,
        |it| *it == 0.0,
    )
    .await;
}

#[tokio::test]
async fn a_client_is_not_blamed_for_an_upstream_that_takes_its_time() {
    const BODY_BYTES: usize = 16 << 20;
    // It reads nothing of the body for longer than a client may pause.
    let origin = Script::start(async |mut peer: Peer| {
        peer.hear_head().await;
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        let heard = peer.hear(BODY_BYTES).await.len();
        peer.answer(&heard.to_string()).await;
    })
    .await;
    let edge = edge(origin.addr(), &["--client-stall-timeout", "1s"]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        ))
        .await;
    client.say(vec![b'x'; BODY_BYTES]).await;

    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(client.until("16777216").await, "16777216");
}
