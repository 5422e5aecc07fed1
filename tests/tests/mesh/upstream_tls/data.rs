//! What goes through: requests of all protocols, tunnels, checks, and connections that end at the
//! wrong moment.

use std::sync::Arc;

use super::*;
use http::{Method, Version};
use rustls::ServerConfig;
use tests::origin::Protocol;
use tests::{Http2, Origin, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const TUNNELS: &str = "
  - match: [{method: {exact: CONNECT}}]
    route: [{destination: {host: app.test}}]
";

/// A server behind TLS that does `work` with each connection, one after another.
async fn serve<F>(
    tls: Arc<ServerConfig>,
    work: impl Fn(TlsStream<tokio::net::TcpStream>) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(tls) = TlsAcceptor::from(Arc::clone(&tls)).accept(tcp).await {
                work(tls).await;
            }
        }
    });
    addr
}

/// Reads the head of a request.
async fn head(tls: &mut TlsStream<tokio::net::TcpStream>) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match tls.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn http2_goes_through_one_connection_that_agreed_to_it() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http2, "app", signed.server(&["h2"])).await;
    let edge = start(origin.addr(), "HTTP2", &simple(&folder)).await;

    let mut one = edge.http1().await;
    let mut two: Http2 = edge.http2().await;
    for _ in 0..3 {
        assert_eq!(one.get(HOST, "/").await.brief(), (200, "app"));
        assert_eq!(two.get(HOST, "/").await.brief(), (200, "app"));
    }

    assert_eq!(origin.last().version, Version::HTTP_2);
    let per_worker = origin.connections();
    assert!(per_worker <= 2, "{per_worker}");
    assert!(origin.handshakes().iter().all(|it| it.protocol == "h2"));
    let silent = Origin::secured(Protocol::Http2, "app", signed.server(&[])).await;
    edge.apply(&documents(silent.addr(), "HTTP2", &simple(&folder)))
        .await;
    let refused = get(&edge).await;
    assert_eq!(refused.header("x-meshproxy-error"), "connect_no_http2");
    assert_eq!(silent.requests(), 0);
}

#[tokio::test]
async fn a_large_body_arrives_whole_in_both_directions() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let tls = ours.leaf_named(&[], &[HOST]).sign().server(&[]);
    // Answers with what it got, after it has all of it.
    let addr = serve(tls, |mut tls| async move {
        if !head(&mut tls).await {
            return;
        }
        let mut body = vec![0; 3 << 20];
        tls.read_exact(&mut body).await.expect("a body");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        tls.write_all(head.as_bytes()).await.expect("taken");
        tls.write_all(&body).await.expect("taken");
        tls.shutdown().await.expect("ended");
    })
    .await;
    let edge = start(addr, "HTTP", &simple(&folder)).await;
    let body: Vec<u8> = (0..3_u32 << 20)
        .map(|at| (at >> 8) as u8 ^ at as u8)
        .collect();

    let sent = tests::client::full(body.clone());
    let request = tests::client::request(Method::POST, HOST, "/", &[], sent);
    let reply = edge.http1().await.send(request).await;

    assert_eq!(reply.status, 200);
    assert!(reply.body == body, "{} bytes", reply.body.len());
}

#[tokio::test]
async fn a_tunnel_is_secured_and_each_side_can_end_first() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let tls = ours.leaf_named(&[], &[HOST]).sign().server(&[]);
    let addr = serve(tls, |mut tls| async move {
        let mut said = Vec::new();
        tls.read_to_end(&mut said).await.expect("an orderly end");
        tls.write_all(&said.to_ascii_uppercase())
            .await
            .expect("taken");
        tls.shutdown().await.expect("ended");
    })
    .await;
    let mut documents = documents(addr, "HTTP", &simple(&folder));
    documents[2] = yaml::routes(HOST, TUNNELS);
    let edge = Edge::start(&documents).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"
        ))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    client.say("ping").await;
    client.end().await;

    assert_eq!(client.rest().await, ("PING".to_owned(), true));
}

#[tokio::test]
async fn a_server_that_ends_each_connection_while_it_rests_costs_no_request() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let tls = ours.leaf_named(&[], &[HOST]).sign().server(&[]);
    // It promises to keep the connection, and ends it in good order or without a word.
    let farewell = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let addr = serve(tls, move |mut tls| {
        let says = farewell.fetch_not(std::sync::atomic::Ordering::Relaxed);
        async move {
            if head(&mut tls).await {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                tls.write_all(answer).await.expect("taken");
                tls.flush().await.expect("sent");
                if says {
                    let _ = tls.shutdown().await;
                }
            }
        }
    })
    .await;
    let edge = start(addr, "HTTP", &simple(&folder)).await;
    let mut client = edge.http1().await;

    for _ in 0..30 {
        let reply = soon("an answer", client.get(HOST, "/")).await;
        assert_eq!(reply.brief(), (200, "ok"), "{reply:?}");
    }
}

#[tokio::test]
async fn sessions_go_on_where_a_connection_has_to_be_opened_again() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&[])).await;
    let once = "connectionPool: {http: {maxRequestsPerConnection: 1}}";
    let mut documents = documents(origin.addr(), "HTTP", &simple(&folder));
    let policy = "trafficPolicy: {";
    documents[1] = documents[1].replacen(policy, &format!("{policy}{once}, "), 1);
    let edge = Edge::start(&documents).await;

    for _ in 0..3 {
        assert_eq!(get(&edge).await.brief(), (200, "app"));
    }

    assert_eq!(origin.connections(), 3);
    let resumed = origin.handshakes().into_iter().map(|it| it.is_resumed);
    assert_eq!(resumed.collect::<Vec<_>>(), [false, true, true]);
}

#[tokio::test]
async fn an_answer_whose_tls_is_cut_off_is_not_taken_for_a_whole_one() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let tls = ours.leaf_named(&[], &[HOST]).sign().server(&[]);
    let addr = serve(tls, |mut tls| async move {
        if head(&mut tls).await {
            // Its length is where it ends.
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of";
            tls.write_all(answer).await.expect("taken");
            tls.flush().await.expect("sent");
        }
    })
    .await;
    let edge = start(addr, "HTTP", &simple(&folder)).await;

    let mut client = edge.http1().await;
    let broken = client.try_send(tests::client::get(HOST, "/")).await;

    broken.expect_err("an end that everybody sees");
}

#[tokio::test]
async fn health_checks_speak_as_requests_do() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let (good, bad) = (
        ours.leaf_named(&[], &[HOST]).sign(),
        ours.leaf_named(&[], &["b.test"]).sign(),
    );
    let good = Origin::secured(Protocol::Http1, "good", good.server(&[])).await;
    let bad = Origin::secured(Protocol::Http1, "bad", bad.server(&[])).await;
    let service = Service::new(HOST)
        .at(good.addr())
        .at(bad.addr())
        .to_string();
    let check = "http:/healthz;interval=100ms;timeout=5s;unhealthy=1";
    let annotation = format!("  annotations: {{meshproxy.io/health-check: '{check}'}}\n");
    let rule = rule(&simple(&folder)).replacen(
        "metadata: {name: app}\n",
        &format!("metadata:\n  name: app\n{annotation}"),
        1,
    );
    let edge = Edge::start(&[service, rule, yaml::routes(HOST, RULES)]).await;

    let checks = || async {
        let shown = edge.proxy.admin("/destinations").await;
        let endpoints = shown[0]["endpoints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let check = |of: &serde_json::Value| of["health"]["check"].clone();
        endpoints.iter().map(check).collect::<Vec<_>>()
    };
    let both = |checks: &Vec<serde_json::Value>| {
        checks[0]["state"] == "passing" && checks[1]["state"] == "failing"
    };
    let checks = eventually("both are checked", checks, both).await;

    let error = checks[1]["lastError"].as_str().unwrap_or_default();
    assert!(error.contains("secure the connection"), "{error}");
    assert_eq!(good.last().target, "/healthz");
    let metrics = edge.proxy.metrics().await;
    let upstream = [("side", "upstream")];
    assert!(metrics.sum("meshproxy_tls_handshakes_total", &upstream) > 0.0);
    assert!(metrics.sum("meshproxy_tls_handshake_failures_total", &upstream) > 0.0);
    for _ in 0..5 {
        assert_eq!(get(&edge).await.brief(), (200, "good"));
    }
    assert_eq!(bad.requests(), 0);
}
