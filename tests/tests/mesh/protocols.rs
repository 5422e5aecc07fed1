//! HTTP/1.1 and HTTP/2 on both sides, in every combination.

use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use tests::client::{empty, full, request};
use tests::origin::{Protocol, body, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

async fn edge(origin: &Origin, protocol: &str) -> Edge {
    let service = Service::new(HOST).protocol(protocol).at(origin.addr());
    Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await
}

#[tokio::test]
async fn http1_stays_http1() {
    let origin = Origin::named("app").await;
    let edge = edge(&origin, "HTTP").await;
    let mut client = edge.http1().await;

    for _ in 0..10 {
        let reply = client.get(HOST, "/").await;
        assert_eq!(
            (reply.brief(), reply.version),
            ((200, "app"), Version::HTTP_11)
        );
    }

    assert_eq!(origin.last().version, Version::HTTP_11);
    assert_eq!(origin.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn http2_clients_reach_http1_origins() {
    let origin = Origin::named("app").await;
    let edge = edge(&origin, "HTTP").await;
    let mut client = edge.http2().await;
    let post = request(
        Method::POST,
        HOST,
        "/path?q=1",
        &[("x-a", "1")],
        full("body"),
    );

    let reply = client.send(post).await;

    assert_eq!(
        (reply.brief(), reply.version),
        ((200, "app"), Version::HTTP_2)
    );
    let seen = origin.last();
    assert_eq!((seen.version, &*seen.authority), (Version::HTTP_11, HOST));
    assert_eq!((&*seen.target, seen.header("x-a")), ("/path?q=1", "1"));
}

#[tokio::test]
async fn http1_clients_reach_http2_origins() {
    for protocol in ["HTTP2", "GRPC"] {
        let origin = Origin::speaking(Protocol::Http2, "app").await;
        let edge = edge(&origin, protocol).await;
        let mut client = edge.http1().await;
        let headers = [("x-a", "1"), ("connection", "keep-alive")];
        let post = request(Method::POST, HOST, "/path?q=1", &headers, full("body"));

        let reply = client.send(post).await;

        assert_eq!(
            (reply.brief(), reply.version),
            ((200, "app"), Version::HTTP_11)
        );
        let seen = origin.last();
        assert_eq!((seen.version, &*seen.authority), (Version::HTTP_2, HOST));
        assert_eq!((&*seen.target, seen.header("x-a")), ("/path?q=1", "1"));
    }
}

#[tokio::test]
async fn http2_requests_share_connections_to_http2_origins() {
    let origin = Origin::speaking(Protocol::Http2, "app").await;
    let edge = edge(&origin, "HTTP2").await;
    let client = edge.http2().await;

    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = client.clone();
        asking.spawn(async move { client.get(HOST, "/").await });
    }
    for reply in asking.join_all().await {
        assert_eq!(
            (reply.brief(), reply.version),
            ((200, "app"), Version::HTTP_2)
        );
    }

    assert_eq!(origin.requests(), 100);
    assert!(
        origin.connections() <= 2,
        "{} connections",
        origin.connections()
    );
}

#[tokio::test]
async fn trailers_of_a_grpc_call_pass_in_both_directions() {
    let origin = Origin::serving(Protocol::Http2, |request| async {
        assert_eq!(request.headers()["te"], "trailers");
        let sent = request.into_body().collect().await;
        let sent = sent.ok().and_then(|sent| sent.trailers().cloned());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.extend(sent.unwrap_or_default());
        let message = Full::new("message".into()).with_trailers(async { Some(Ok(trailers)) });
        let mut answer = Response::new(body(message));
        let grpc = "application/grpc".parse().expect("a value");
        answer.headers_mut().insert("content-type", grpc);
        answer
    })
    .await;
    let edge = edge(&origin, "GRPC").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().expect("a value"));
    let call = Full::new("call".into()).with_trailers(async { Some(Ok(trailers)) });
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = request(
        Method::POST,
        HOST,
        "/pkg.Service/Call",
        &headers,
        call.boxed(),
    );

    let reply = edge.http2().await.send(call).await;

    assert_eq!(reply.brief(), (200, "message"));
    let trailers = reply.trailers.expect("the call ends with trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-checksum"], "7");
}

#[tokio::test]
async fn a_grpc_caller_learns_of_a_failure_in_its_own_terms() {
    let dead = tests::Port::reserve();
    let service = Service::new(HOST).protocol("GRPC").at(dead.addr());
    let edge = Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = request(Method::POST, HOST, "/pkg.Service/Call", &headers, empty());

    let reply = edge.http2().await.send(call).await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("grpc-status"), "14");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        let mut answer = text("a body");
        match request.uri().path() {
            "/204" => *answer.status_mut() = StatusCode::NO_CONTENT,
            "/304" => *answer.status_mut() = StatusCode::NOT_MODIFIED,
            _ => {}
        }
        if !answer.status().is_success() || answer.status() == StatusCode::NO_CONTENT {
            *answer.body_mut() = body(http_body_util::Empty::new());
        }
        answer
    })
    .await;
    let edge = edge(&origin, "HTTP").await;
    let mut client = edge.http1().await;

    for _ in 0..3 {
        let head = request(Method::HEAD, HOST, "/", &[], empty());
        let reply = client.send(head).await;
        assert_eq!(
            (reply.brief(), reply.header("content-length")),
            ((200, ""), "6")
        );
        assert_eq!(client.get(HOST, "/204").await.brief(), (204, ""));
        assert_eq!(client.get(HOST, "/304").await.brief(), (304, ""));
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "a body"));
    }

    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    const COUNT: usize = 20;

    let origin = Origin::serving(Protocol::Http1, |request| async move {
        text(format!("<{}>", request.uri().path()))
    })
    .await;
    let edge = edge(&origin, "HTTP").await;
    let request = |number| format!("GET /{number} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let all: String = (0..COUNT).map(request).collect();

    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    tcp.write_all(all.as_bytes())
        .await
        .expect("requests are taken");
    let mut read = Vec::new();
    let last = format!("</{}>", COUNT - 1);
    while !read.ends_with(last.as_bytes()) {
        let more = tests::soon("answers", tcp.read_buf(&mut read)).await;
        assert_ne!(
            more.expect("an open connection"),
            0,
            "{}",
            String::from_utf8_lossy(&read)
        );
    }

    let answers = String::from_utf8_lossy(&read);
    let order: Vec<&str> = answers
        .split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>'))
        .map(|(path, _)| path)
        .collect();
    let expected: Vec<String> = (0..COUNT).map(|number| format!("/{number}")).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_request_may_come_in_pieces_of_any_size() {
    let origin = Origin::named("app").await;
    let edge = edge(&origin, "HTTP").await;
    let request = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\n\r\nabc");

    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    tcp.set_nodelay(true).expect("a TCP option");
    for byte in request.bytes() {
        tcp.write_all(&[byte]).await.expect("a byte is taken");
    }
    let mut read = Vec::new();
    while !read.ends_with(b"app") {
        let more = tests::soon("an answer", tcp.read_buf(&mut read)).await;
        assert_ne!(more.expect("an open connection"), 0);
    }

    assert!(read.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(origin.last().target, "/a");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_and_the_connection_closed() {
    let origin = Origin::named("app").await;
    let edge = edge(&origin, "HTTP").await;

    let mut tcp = TcpStream::connect(edge.port.addr())
        .await
        .expect("the gateway listens");
    let request = format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n");
    tcp.write_all(request.as_bytes())
        .await
        .expect("a request is taken");
    let mut answer = String::new();
    let read = tests::soon("an answer", tcp.read_to_string(&mut answer)).await;
    read.expect("an answer in full");

    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\napp"), "{answer}");
}
