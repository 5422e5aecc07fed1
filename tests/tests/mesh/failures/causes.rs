//! Each way to fail has a flag and a detail of its own.

use http::Method;
use tests::client::{full, get, request};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Port, Script};
use tokio::net::TcpSocket;

use super::{HOST, cause, connection_pool, edge, start};

/// Rules that give the request that hangs a time.
const RULES: &str = "
  - match: [{uri: {prefix: /hang}}]
    timeout: 300ms
    route: [{destination: {host: app.test}}]
  - route: [{destination: {host: app.test}}]
";

/// Does on every connection what the path of the request says.
async fn misbehave(mut peer: Peer) {
    while let Some(head) = peer.request().await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        match path.as_str() {
            "/reset" => return peer.reset(),
            "/close" => return,
            "/half-close" => {
                peer.finish().await;
                while peer.request().await.is_some() {}
                return;
            }
            "/reset-in-head" => {
                peer.say("HTTP/1.1 200 OK\r\nx-a").await;
                return peer.reset();
            }
            "/close-in-head" => return peer.say("HTTP/1.1 200 OK\r\nx-a").await,
            "/garbage" => return peer.say("SSH-2.0-OpenSSH_9.2\r\n\r\n").await,
            "/truncate" => {
                return peer
                    .say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                    .await;
            }
            "/reset-in-body" => {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                    .await;
                return peer.reset();
            }
            "/bad-chunk" => {
                peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nz\r\n")
                    .await;
                return;
            }
            "/hang" | "/hang-in-body" => {
                if path == "/hang-in-body" {
                    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                        .await;
                }
                while peer.request().await.is_some() {}
                return;
            }
            _ => peer.answer("answered").await,
        }
    }
}

async fn scene() -> (Edge, Script) {
    let origin = Script::start(misbehave).await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = start(&[service, yaml::routes(HOST, RULES)]).await;
    (edge, origin)
}

#[tokio::test]
async fn a_failure_before_an_answer_is_told_by_its_cause() {
    let (edge, origin) = scene().await;
    let rows = [
        ("/reset", 503, "UC", "upstream_reset_before_response"),
        ("/close", 503, "UC", "upstream_closed_before_response"),
        ("/half-close", 503, "UC", "upstream_closed_before_response"),
        ("/reset-in-head", 503, "UC", "upstream_reset_within_head"),
        ("/close-in-head", 503, "UC", "upstream_closed_within_head"),
        ("/garbage", 502, "UPE", "upstream_protocol_error"),
        ("/hang", 504, "UT", "response_timeout"),
    ];

    for (path, status, flag, detail) in rows {
        let reply = edge
            .http1()
            .await
            .get_with(HOST, path, &[("x-request-id", path)])
            .await;

        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("x-meshproxy-error"), detail, "{path}");
        assert_eq!(
            cause(&edge, path).await,
            (flag.to_owned(), detail.to_owned())
        );
    }

    assert_eq!(origin.heads().len(), rows.len(), "nothing was repeated");
}

#[tokio::test]
async fn a_failure_within_an_answer_is_told_by_its_cause() {
    let (edge, _origin) = scene().await;

    for (path, flag, detail) in [
        ("/truncate", "UC", "upstream_body_truncated"),
        ("/reset-in-body", "UC", "upstream_reset_within_body"),
        ("/bad-chunk", "UPE", "upstream_body_invalid"),
        ("/hang-in-body", "UT", "response_timeout"),
    ] {
        let mut client = edge.http1().await;
        let mut asked = get(HOST, path);
        let id = path.parse().expect("a value");
        asked.headers_mut().insert("x-request-id", id);

        let reply = client.try_send(asked).await;

        assert!(reply.is_err(), "{path}: {reply:?}");
        assert_eq!(
            cause(&edge, path).await,
            (flag.to_owned(), detail.to_owned())
        );
    }
}

#[tokio::test]
async fn a_post_that_met_a_connection_closed_while_it_rested_says_so() {
    let (edge, origin) = scene().await;
    assert_eq!(edge.http1().await.get(HOST, "/").await.status, 200);

    let headers = [("x-request-id", "post")];
    let post = request(Method::POST, HOST, "/reset", &headers, full("order"));
    let reply = edge.http1().await.send(post).await;

    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.header("x-meshproxy-error"),
        "upstream_closed_while_idle"
    );
    assert_eq!(
        cause(&edge, "post").await,
        ("UC".to_owned(), "upstream_closed_while_idle".to_owned())
    );
    assert_eq!(origin.heads().len(), 2);
}

#[tokio::test]
async fn a_refused_connection_is_told_from_one_that_nobody_answers() {
    let dead = Port::reserve();
    let refused = edge(&[dead.addr()], "HTTP", "").await;
    let headers = [("x-request-id", "refused")];

    let reply = refused.http1().await.get_with(HOST, "/", &headers).await;

    assert_eq!(reply.status, 503);
    assert_eq!(
        cause(&refused, "refused").await,
        ("URX,UF".to_owned(), "connect_refused".to_owned())
    );

    // A queue of connections that is full: the system answers no more of them.
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket
        .bind(([127, 0, 0, 1], 0).into())
        .expect("a port is free");
    let full = socket.listen(1).expect("it listens");
    let addr = full.local_addr().expect("a bound socket has an address");
    let mut filling = Vec::new();
    for _ in 0..8 {
        let filler = TcpSocket::new_v4().expect("a socket can be made");
        filling.push(tokio::spawn(filler.connect(addr)));
    }
    let documents = [
        Service::new(HOST).at(addr).to_string(),
        connection_pool("{tcp: {connectTimeout: 300ms}}"),
        yaml::routes(
            HOST,
            "  - retries: {attempts: 0}\n    route: [{destination: {host: app.test}}]",
        ),
    ];
    let silent = start(&documents).await;
    let headers = [("x-request-id", "silent")];

    let reply = silent.http1().await.get_with(HOST, "/", &headers).await;

    assert_eq!(reply.status, 503);
    assert_eq!(
        cause(&silent, "silent").await,
        ("UF".to_owned(), "connect_timeout".to_owned())
    );
    filling.iter().for_each(tokio::task::JoinHandle::abort);
}
