//! Bodies that are sent again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use tests::client::{Body, full, request};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Script};

const HOST: &str = "upload.test";
const RULES: &str = "
  - match: [{uri: {prefix: /default}}]
    route: [{destination: {host: upload.test}}]
  - retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: upload.test}}]
";

async fn edge(addr: SocketAddr) -> Edge {
    let service = Service::new(HOST).at(addr).to_string();
    Edge::start_with(
        &[service, yaml::routes(HOST, RULES)],
        &["--access-log", "json", "--workers", "1"],
    )
    .await
}

/// What came on each connection; the first one fails once it has `fails_at` bytes of the body.
async fn failing_once(fails_at: usize) -> (Script, Arc<Mutex<Vec<Vec<u8>>>>) {
    let came = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let noted = Arc::clone(&came);
    let script = Script::start(move |mut peer: Peer| {
        let noted = Arc::clone(&noted);
        async move {
            peer.head().await;
            if peer.number == 0 {
                let part = peer.bytes(fails_at).await;
                noted.lock().expect("not poisoned").push(part);
                return peer.reset();
            }
            let mut whole = Vec::new();
            while !whole.ends_with(b"\r\n\r\n") {
                let more = peer.bytes(1).await;
                if more.is_empty() {
                    break;
                }
                whole.extend(more);
            }
            noted.lock().expect("not poisoned").push(whole);
            peer.answer("stored").await;
        }
    })
    .await;
    (script, came)
}

/// A body without announced length, and trailers.
fn with_trailers(text: String) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    Full::new(text.into())
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed()
}

fn is_in(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|part| part == needle.as_bytes())
}

#[tokio::test]
async fn a_body_is_sent_again_whole_with_its_trailers() {
    let (script, came) = failing_once(1_000).await;
    let edge = edge(script.addr()).await;
    let text = "0123456789".repeat(300);
    let headers = [("trailer", "x-sum"), ("transfer-encoding", "chunked")];
    let post = request(
        Method::POST,
        HOST,
        "/",
        &headers,
        with_trailers(text.clone()),
    );

    let reply = edge.http1().await.send(post).await;

    assert_eq!(reply.brief(), (200, "stored"));
    let came = came.lock().expect("not poisoned");
    assert_eq!(came.len(), 2);
    assert!(is_in(&came[1], &text), "the same bytes");
    assert!(is_in(&came[1], "x-sum: 7"), "and trailers");
}

#[tokio::test]
async fn a_body_that_outgrew_the_bound_is_not_sent_again_and_says_so() {
    // More than is kept, and more than fits into the buffers of the sockets on the way.
    let (script, came) = failing_once(6 * 1024 * 1024).await;
    let edge = edge(script.addr()).await;
    let large = full(vec![b'x'; 8 * 1024 * 1024]);
    let post = request(Method::POST, HOST, "/large", &[], large);

    // Whether the answer arrives before the client notices the end is the client's luck.
    let _ = edge.http1().await.try_send(post).await;

    let line = edge
        .proxy
        .stdout
        .line("a line of the log", |line| line.contains("/large"))
        .await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    assert_eq!(line["retry_refused"], "body-too-large");
    assert_eq!(
        (&line["response_code"], &line["attempts"]),
        (&503.into(), &1.into())
    );
    assert_eq!(line["response_flags"], "UC");
    let metrics = edge.proxy.metrics().await;
    let cause = [("cause", "body-too-large")];
    assert_eq!(metrics.sum("meshproxy_retries_refused_total", &cause), 1.0);
    assert_eq!(came.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_put_on_a_connection_that_was_reused_too_late_is_sent_again_whole() {
    let script = Script::start(async |mut peer: Peer| {
        if peer.request().await.is_some() {
            peer.answer("stored").await;
            peer.request().await;
            peer.reset();
        }
    })
    .await;
    let edge = edge(script.addr()).await;
    let mut client = edge.http1().await;

    for path in ["/default/1", "/default/2"] {
        let put = request(Method::PUT, HOST, path, &[], full("x".repeat(5_000)));
        assert_eq!(client.send(put).await.brief(), (200, "stored"), "{path}");
    }

    assert_eq!(script.heads().len(), 3);
    assert!(script.heads()[2].contains("x-envoy-attempt-count: 2"));
}
