//! Bodies of any size and framing.

use http::{Method, Response};
use http_body_util::BodyExt as _;
use tests::body::{Large, drain};
use tests::client::{full, get, request};
use tests::origin::{Protocol, body, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, soon};

const HOST: &str = "files.test";
const RULES: &str = "  - route: [{destination: {host: files.test}}]";
/// Of each of several answers at once; together far more than the proxy may hold.
const MEDIUM_BYTES: usize = 16 * 1024 * 1024;
/// What a transfer may add to the proxy's memory: far less than a body, far more than its buffers.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// An origin that says how many bytes came, and sends a body of its own for `/medium`.
async fn files(protocol: Protocol) -> Origin {
    Origin::serving(protocol, |request| async move {
        if request.uri().path() == "/medium" {
            return Response::new(body(Large::new(MEDIUM_BYTES)));
        }
        let chunked = request.headers().contains_key("transfer-encoding");
        let came = drain(request.into_body()).await;
        text(format!("{:?} chunked: {chunked}", came.ok()))
    })
    .await
}

async fn edge(origin: &Origin, protocol: &str) -> Edge {
    let service = Service::new(HOST).protocol(protocol).at(origin.addr());
    Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await
}

#[tokio::test]
async fn chunked_bodies_pass_in_both_directions() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        assert_eq!(request.headers()["transfer-encoding"], "chunked");
        let sent = request
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        Response::new(body(Large::new(sent.len() * 2)))
    })
    .await;
    let edge = edge(&origin, "HTTP").await;
    let mut client = edge.http1().await;

    for bytes in [1, 70_000, 300_000] {
        let post = request(Method::POST, HOST, "/", &[], Large::new(bytes).boxed());
        let reply = client.send(post).await;
        assert_eq!(reply.header("transfer-encoding"), "chunked");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, bytes * 2));
    }

    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_body_of_known_length_keeps_it() {
    let origin = files(Protocol::Http1).await;
    let edge = edge(&origin, "HTTP").await;
    let post = request(Method::POST, HOST, "/", &[], full(vec![b'x'; 70_000]));

    let reply = edge.http1().await.send(post).await;

    assert_eq!(reply.text(), "Some(70000) chunked: false");
    assert_eq!(origin.last().header("content-length"), "70000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_does_not_make_the_proxy_hold_its_answer() {
    let origin = files(Protocol::Http1).await;
    let edge = edge(&origin, "HTTP").await;
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(edge.http1().await);
    }
    let before = edge.proxy.resident_bytes();

    // Heads are read, bodies are not, until all of them stand still.
    let mut stalled = Vec::new();
    for reader in &mut readers {
        stalled.push(reader.begin(get(HOST, "/medium")).await.expect("an answer"));
    }
    for response in stalled {
        let read = soon("a download", drain(response.into_body())).await;
        assert_eq!(read.expect("a whole body"), MEDIUM_BYTES);
    }

    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    assert!(growth < 2 * GROWTH_BYTES_MAX, "{growth} bytes");
}
