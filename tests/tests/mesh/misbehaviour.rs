//! Clients and origins that break the rules, or leave.

use http::Method;
use tests::client::{full, get, request};
use tests::origin::{Protocol, text};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Script, eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

async fn edge(addr: std::net::SocketAddr) -> Edge {
    let service = Service::new(HOST).at(addr).to_string();
    Edge::start_with(
        &[service, yaml::routes(HOST, RULES)],
        &["--access-log", "json"],
    )
    .await
}

/// An origin that answers every request with exactly these bytes and closes.
async fn saying(answer: &'static str) -> Script {
    Script::start(async move |mut peer: Peer| {
        if peer.request().await.is_some() {
            peer.say(answer).await;
        }
    })
    .await
}

/// What comes back for exactly these bytes, up to the end of the connection.
async fn sent(edge: &Edge, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    // The proxy may answer and close before it has read everything.
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = soon("an answer", tcp.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The flags of the first line of the access log.
async fn flags(edge: &Edge) -> String {
    let line = edge
        .proxy
        .stdout
        .line("a line", |line| line.starts_with('{'))
        .await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    line["response_flags"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr()).await;
    let start = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n");
    let long = format!("{start}x-long: {}\r\n\r\n", "x".repeat(100_000));
    let many: String = (0..300)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();

    for request in [long, format!("{start}{many}\r\n")] {
        let answer = sent(&edge, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    }

    assert_eq!(origin.requests(), 0);
    let fits = format!("{start}x-long: {}\r\n\r\n", "x".repeat(30_000));
    let answer = sent(&edge, fits.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
}

#[tokio::test]
async fn a_request_of_two_lengths_does_not_smuggle_another() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr()).await;
    let smuggled = format!("GET /secret HTTP/1.1\r\nhost: {HOST}\r\n\r\n");

    for framing in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n",
            5 + smuggled.len()
        ),
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "content-length: 0, 5\r\n".to_owned(),
        "content-length: +5\r\n".to_owned(),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{framing}\r\n0\r\n\r\n{smuggled}"
        );
        sent(&edge, request.as_bytes()).await;
        let arrived = origin.seen();
        let secret = arrived.iter().any(|seen| seen.target == "/secret");
        assert!(!secret, "{framing:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_bad_gateway() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let origin = saying(answer).await;
        let edge = edge(origin.addr()).await;

        let reply = edge.http1().await.get(HOST, "/").await;

        assert_eq!(reply.status, 502, "{answer:?}");
        assert_eq!(reply.header("x-meshproxy-error"), "upstream_protocol_error");
        assert_eq!(flags(&edge).await, "UPE");
        assert_eq!(origin.heads().len(), 1, "it is not asked again");
    }
}

#[tokio::test]
async fn an_origin_that_closes_without_an_answer_makes_it_unavailable() {
    let origin = saying("").await;
    let edge = edge(origin.addr()).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert_eq!(flags(&edge).await, "UC");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_not_passed_off_as_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let origin = saying(answer).await;
        let edge = edge(origin.addr()).await;
        let mut client = edge.http1().await;

        // Head and end may come so close together that nothing is sent at all.
        let reply = client.try_send(get(HOST, "/")).await;

        assert!(reply.is_err(), "{answer:?}: {reply:?}");
        client.closed().await;
    }
}

#[tokio::test]
async fn an_answer_until_the_end_of_the_connection_is_whole() {
    let origin = saying("HTTP/1.0 200 OK\r\n\r\nold but whole").await;
    let edge = edge(origin.addr()).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "old but whole"));
}

#[tokio::test]
async fn interim_answers_are_not_taken_for_the_final_one() {
    let origin = saying(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal",
    )
    .await;
    let edge = edge(origin.addr()).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "final"));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    let origin = Origin::serving(Protocol::Http1, |_| async {
        let mut answer = text("too large");
        *answer.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
        answer
    })
    .await;
    let edge = edge(origin.addr()).await;
    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000000\r\n\r\nbegin");
    tcp.write_all(head.as_bytes())
        .await
        .expect("a beginning is taken");

    let mut answer = Vec::new();
    while !answer.ends_with(b"too large") {
        let read = soon("an early answer", tcp.read_buf(&mut answer)).await;
        let read = read.expect("an open connection");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
    }

    assert!(answer.starts_with(b"HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_client_that_leaves_frees_what_its_request_occupied() {
    let origin = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let edge = edge(origin.addr()).await;
    let active = async || {
        let destinations = edge.proxy.admin("/destinations").await;
        destinations[0]["endpoints"][0]["active"].as_u64()
    };

    let mut client = edge.http1().await;
    let asking = tokio::spawn(async move { client.try_send(get(HOST, "/")).await });
    eventually("a request under way", active, |active| *active == Some(1)).await;
    asking.abort();

    eventually("nothing under way", active, |active| *active == Some(0)).await;
    assert_eq!(flags(&edge).await, "DC");
    let labels = [("response_code", "0"), ("response_flags", "DC")];
    edge.proxy
        .counts("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_upload_ends_it_at_the_origin_too() {
    let ended = std::sync::Arc::new(tokio::sync::Notify::new());
    let noted = std::sync::Arc::clone(&ended);
    let origin = Origin::serving(Protocol::Http1, move |request| {
        let ended = std::sync::Arc::clone(&noted);
        async move {
            let read = tests::body::drain(request.into_body()).await;
            if read.is_err() {
                ended.notify_one();
            }
            text("read")
        }
    })
    .await;
    let edge = edge(origin.addr()).await;

    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000\r\n\r\nbegin");
    tcp.write_all(head.as_bytes())
        .await
        .expect("a beginning is taken");
    eventually(
        "the request",
        async || origin.requests(),
        |requests| *requests == 1,
    )
    .await;
    drop(tcp);

    soon("the broken upload at the origin", ended.notified()).await;
}

#[tokio::test]
async fn a_body_that_an_origin_did_not_read_does_not_spoil_the_next_request() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        match request.method() {
            &Method::POST => text("not read"),
            _ => text("next"),
        }
    })
    .await;
    let edge = edge(origin.addr()).await;
    let mut client: Http1 = edge.http1().await;

    for _ in 0..5 {
        let post = request(Method::POST, HOST, "/", &[], full(vec![b'x'; 500_000]));
        let reply = client.try_send(post).await;
        // The origin closes with bytes unread, which can overtake its answer as a reset.
        if let Ok(reply) = reply {
            assert!(
                matches!(reply.brief(), (200, "not read") | (503, _)),
                "{reply:?}"
            );
        }
        client = edge.http1().await;
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "next"));
    }
}
