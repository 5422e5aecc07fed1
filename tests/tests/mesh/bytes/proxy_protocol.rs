//! The PROXY protocol: what balancers say to gateways, and what we say to upstreams.

use tests::gateway::connect_to;
use tests::script::Peer;
use tests::yaml;
use tests::{Authority, Edge, Origin, Script, Wire, eventually};
use tokio_rustls::TlsAcceptor;

use super::*;

const BALANCERS: [&str; 2] = ["--proxy-protocol-from", "10.0.0.0/8,127.0.0.0/8"];
const RULES: &str = "  - route: [{destination: {host: one.test}}]";

fn get() -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")
}

fn http_to(origin: SocketAddr) -> [String; 2] {
    let service = Service::new(HOST).at(origin).to_string();
    [service, yaml::routes(HOST, RULES)]
}

/// A header of version 2 for TCP over IPv4, with something after the addresses.
fn binary(source: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11".to_vec();
    header.extend(source);
    header.extend([10, 0, 0, 9, high, low, 0x01, 0xbb]);
    header.extend([4, 0, 2, 1, 2]);
    header
}

#[tokio::test]
async fn the_caller_is_whom_the_balancer_names() {
    let origin = Origin::named("one").await;
    let arguments = [&BALANCERS[..], &["--access-log", "json"]].concat();
    let edge = Edge::start_with(&http_to(origin.addr()), &arguments).await;

    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec();
    for (header, caller) in [
        (line, "192.0.2.7:4711"),
        (binary([192, 0, 2, 8], 4712), "192.0.2.8:4712"),
    ] {
        let mut client = edge.wire().await;
        client.say(&header).await;
        client.say(get()).await;

        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        let (ip, _) = caller.split_once(':').expect("a port");
        assert_eq!(origin.last().header("x-forwarded-for"), ip);
        let is_it = |line: &str| line.contains(caller);
        edge.proxy.stdout.line("a line of the request", is_it).await;
    }

    // In one piece with what follows, as most balancers send it.
    let mut client = edge.wire().await;
    let whole = format!("PROXY TCP6 2001:db8::5 ::1 1 2\r\n{}", get());
    client.say(whole).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().header("x-forwarded-for"), "2001:db8::5");
}

#[tokio::test]
async fn a_balancer_that_names_nobody_is_the_caller_itself() {
    let origin = Origin::named("one").await;
    let edge = Edge::start_with(&http_to(origin.addr()), &BALANCERS).await;

    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
    ] {
        let mut client = edge.wire().await;
        client.say(header).await;
        client.say(get()).await;

        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(origin.last().header("x-forwarded-for"), "127.0.0.1");
    }
}

#[tokio::test]
async fn a_balancer_without_a_header_is_refused_and_learns_nothing() {
    let origin = Origin::named("one").await;
    let edge = Edge::start_with(&http_to(origin.addr()), &BALANCERS).await;

    for (begin, cause) in [
        (get(), "proxy_protocol_missing"),
        (
            "PROXY TCP4 192.0.2.7 x 1 2\r\n".to_owned() + &get(),
            "proxy_protocol_malformed",
        ),
    ] {
        let mut client = edge.wire().await;
        client.say(begin).await;

        assert_eq!(client.rest().await.0, "");
        let labels = [("cause", cause)];
        let refused = async || {
            let metrics = edge.proxy.metrics().await;
            metrics.sum("meshproxy_downstream_rejections_total", &labels)
        };
        eventually("it is counted", refused, |refused| *refused == 1.0).await;
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_header_of_somebody_who_is_not_trusted_is_no_header() {
    let origin = Origin::named("one").await;
    let trusted = ["--proxy-protocol-from", "10.0.0.0/8"];
    let edge = Edge::start_with(&http_to(origin.addr()), &trusted).await;

    let mut client = edge.wire().await;
    client
        .say("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n")
        .await;
    client.say(get()).await;
    assert!(client.head().await.starts_with("HTTP/1.1 400 "));

    let mut client = edge.wire().await;
    client.say(get()).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn policies_see_whom_the_balancer_names() {
    let origin = Origin::named("one").await;
    let deny = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shut}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {ipBlocks: [192.0.2.0/24]}}]}]
---
";
    let [service, routes] = http_to(origin.addr());
    let edge = Edge::start_with(&[service, routes, deny.to_owned()], &BALANCERS).await;

    for (caller, status) in [("192.0.2.7", "403"), ("198.51.100.7", "200")] {
        let mut client = edge.wire().await;
        client
            .say(format!("PROXY TCP4 {caller} 10.0.0.1 1 2\r\n"))
            .await;
        client.say(get()).await;

        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[tokio::test]
async fn connections_of_one_source_go_to_one_endpoint() {
    let ((first, one), (second, two)) = (listen().await, listen().await);
    let port = Port::reserve();
    let yaml = passing_to(&port, &[one, two])
        + &policy("loadBalancer: {consistentHash: {useSourceIp: true}}");
    let _proxy = Proxy::start_with(&yaml, &BALANCERS).await;
    let mut met = [false, false];

    for source in 1..=16 {
        let mut chosen = Vec::new();
        for source_port in 1..=3 {
            let client = TcpStream::connect(port.addr()).await;
            let mut client = client.expect("a listener");
            let header = binary([192, 0, 2, source], source_port);
            client.write_all(&header).await.expect("room");
            client.write_all(&greeting()).await.expect("room");
            tokio::select! {
                _ = accept(&first) => chosen.push(0),
                _ = accept(&second) => chosen.push(1),
            }
        }
        assert!(chosen.iter().all(|it| *it == chosen[0]), "{chosen:?}");
        met[chosen[0]] = true;
    }
    assert_eq!(met, [true, true], "sources are spread");
}

/// What a connection to an upstream began with, up to the end of a line.
async fn first_line(tcp: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let byte = soon("a header", tcp.read_u8()).await;
        line.push(byte.expect("a whole line"));
    }
    String::from_utf8(line).expect("text")
}

#[tokio::test]
async fn an_upstream_is_told_who_connects() {
    let passing = Passing::start_with(&policy("proxyProtocol: {}"), &[]).await;
    let client = TcpStream::connect(passing.port.addr()).await;
    let mut client = client.expect("a listener");
    client.write_all(&passing.greeting).await.expect("room");
    let mut origin = accept(&passing.listener).await;

    let header = first_line(&mut origin).await;

    let own = client.local_addr().expect("bound").port();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {}\r\n", passing.port);
    assert_eq!(header, expected);
    let mut passed = vec![0; passing.greeting.len()];
    let read = soon("a greeting", origin.read_exact(&mut passed)).await;
    read.expect("after the header");
    assert_eq!(passed, passing.greeting);
}

#[tokio::test]
async fn an_upstream_is_told_before_tls_and_in_binary() {
    let files = tests::gateway::Files::new();
    let authority = Authority::new("own.test");
    let (listener, addr) = listen().await;
    let more =
        policy("proxyProtocol: {version: V2}, tls: {mode: SIMPLE, insecureSkipVerify: true}");
    let (port, _proxy) = super::every_byte::ending(&files, &authority, addr, &more).await;
    let acceptor = TlsAcceptor::from(authority.leaf_named(&[], &[HOST]).sign().server(&[]));
    let origin = tokio::spawn(async move {
        let mut tcp = accept(&listener).await;
        let mut header = [0; 28];
        let read = soon("a header", tcp.read_exact(&mut header)).await;
        read.expect("a whole header");
        let tls = acceptor.accept(tcp).await.expect("TLS after the header");
        (header, tls)
    });

    let config = nobody(&[], &[&TLS13, &TLS12]);
    let client = connect_to(port.addr(), HOST, config).await.expect("TLS");
    let (header, _tls) = origin.await.expect("no panic");

    assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(header[12..20], [0x21, 0x11, 0, 12, 127, 0, 0, 1]);
    let own = client.get_ref().0.local_addr().expect("bound").port();
    assert_eq!(header[24..26], own.to_be_bytes());
}

/// Answers each request with the header that its connection began with.
async fn answer_header(mut peer: Peer) {
    let mut header = String::new();
    while !header.ends_with("\r\n") {
        header += &peer.hear(1).await;
    }
    while peer.head().await.is_some() {
        peer.answer(header.trim_end()).await;
    }
}

#[tokio::test]
async fn requests_of_one_client_never_use_a_connection_of_another() {
    let origin = Script::start(answer_header).await;
    let [service, routes] = http_to(origin.addr());
    let edge = Edge::start(&[service, routes, policy("proxyProtocol: {version: V1}")]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(edge.http1().await);
    }

    for _ in 0..3 {
        for client in &mut clients {
            let own = client.local();
            let reply = client.get(HOST, "/").await;
            let told = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", own.port());
            assert!(reply.text().starts_with(&told), "{own}: {}", reply.text());
        }
    }

    drop(clients);
    let open = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_upstream_connections_active", &[])
    };
    eventually("theirs are closed", open, |open| *open == 0.0).await;
}

/// HTTP/2 with the header in front of it.
#[tokio::test]
async fn requests_of_one_client_never_share_http2_with_another() {
    let (listener, addr) = listen().await;
    let service = Service::new(HOST).protocol("HTTP2").at(addr).to_string();
    let more = policy("proxyProtocol: {}");
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES), more]).await;
    let mut told = Vec::new();

    for _ in 0..2 {
        let mut client = Wire::connect(edge.port.addr()).await;
        client.say(get()).await;
        let mut origin = accept(&listener).await;
        told.push(first_line(&mut origin).await);
        let mut preface = [0; 24];
        let read = soon("a preface", origin.read_exact(&mut preface)).await;
        read.expect("after the header");
        assert!(preface.starts_with(b"PRI * HTTP/2.0"));
    }
    assert_ne!(told[0], told[1]);
}
