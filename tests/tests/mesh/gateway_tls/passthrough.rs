//! TLS that passes a gateway untouched, and what comes out of TLS that is not HTTP.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tests::authority::Signed;
use tests::gateway::{Files, Server, echo, gateway};
use tests::{Authority, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::*;

fn passthrough(host: &str) -> Server<'_> {
    Server {
        host,
        protocol: "TLS",
        tls: "mode: PASSTHROUGH".to_owned(),
    }
}

/// A service `host` that speaks TLS.
fn service(host: &str, addr: std::net::SocketAddr) -> String {
    Service::new(host).protocol("TLS").at(addr).to_string()
}

/// A `VirtualService` with `rules` as the items of `tls`.
fn by_name(name: &str, hosts: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{hosts}]
  gateways: [edge]
  tls:
{rules}
---
"
    )
}

fn to(names: &str, host: &str) -> String {
    format!(
        "  - match: [{{sniHosts: [{names}]}}]\n    route: [{{destination: {{host: {host}}}}}]\n"
    )
}

fn shown(tls: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let chain = tls.get_ref().1.peer_certificates()?;
    Some(chain.first()?.clone().into_owned())
}

fn der(signed: &Signed) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("a certificate")
}

/// Sends `bytes` and the end, and takes what comes back.
async fn exchange(tls: TlsStream<TcpStream>, bytes: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(tls);
    let sending = tokio::spawn(async move {
        write.write_all(&bytes).await.expect("it is taken");
        write.shutdown().await.expect("an end");
    });
    let mut back = Vec::new();
    let reading = soon("all of it", read.read_to_end(&mut back)).await;
    reading.expect("an orderly end");
    sending.await.expect("no panic");
    back
}

async fn tcp_sum(proxy: &Proxy, name: &str, labels: &[(&str, &str)]) -> f64 {
    let metrics = proxy.metrics().await;
    metrics.sum(&format!("istio_tcp_{name}_total"), labels)
}

#[tokio::test]
async fn a_client_sees_the_certificate_of_the_origin_and_every_byte() {
    let own = Authority::new("own.test");
    let signed = own.leaf_named(&[], &["one.test"]).sign();
    let other = own.leaf_named(&[], &["a.two.test"]).sign();
    let (one, two) = (echo(&signed).await, echo(&other).await);
    let port = Port::reserve();
    let yaml = gateway(&port, &[passthrough("one.test"), passthrough("*.two.test")])
        + &service("one.test", one)
        + &service("two.test", two)
        + &by_name("one", "one.test", &to("one.test", "one.test"))
        + &by_name("two", "'*.two.test'", &to("'*.two.test'", "two.test"));
    let proxy = Proxy::start_with(&yaml, &["--access-log", "json"]).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();

    for (name, certificate) in [("one.test", &signed), ("a.two.test", &other)] {
        let tls = connect_to(port.addr(), name, anonymous()).await;
        let tls = tls.expect("a handshake with the origin");
        assert_eq!(shown(&tls), Some(der(certificate)));
        assert_eq!(exchange(tls, bytes.clone()).await, bytes);
    }

    let line = |line: &str| line.contains("\"requested_server_name\":\"one.test\"");
    let line = proxy.stdout.line("a line of the connection", line).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["virtual_service"], "default/one");
    assert_eq!(line["upstream_cluster"], "outbound|80||one.test");
    assert_eq!(line["upstream_host"], one.to_string());
    assert!(line["bytes_received"].as_u64() > Some(3_000_000), "{line}");
    assert!(line["bytes_sent"].as_u64() > Some(3_000_000), "{line}");
    assert_eq!(line["response_flags"], "-");
    let labels = [
        ("destination_service", "one.test"),
        ("request_protocol", "tcp"),
    ];
    assert_eq!(tcp_sum(&proxy, "connections_opened", &labels).await, 1.0);
    let closed = async || tcp_sum(&proxy, "connections_closed", &labels).await;
    eventually("an end", closed, |closed| *closed == 1.0).await;
    assert!(tcp_sum(&proxy, "sent_bytes", &labels).await > 3e6);
    assert!(tcp_sum(&proxy, "received_bytes", &labels).await > 3e6);
}

#[tokio::test]
async fn a_name_without_a_rule_leads_nowhere_and_is_counted() {
    let port = Port::reserve();
    let rules = by_name("one", "one.test", &to("one.test", "gone.test"));
    let yaml = gateway(&port, &[passthrough("*.test")]) + &rules;
    let proxy = Proxy::start_with(&yaml, &["--access-log", "json"]).await;

    for (name, flag) in [("two.test", "NR"), ("one.test", "NC")] {
        let refused = connect_to(port.addr(), name, anonymous()).await;
        refused.expect_err("nobody is behind it");
        let labels = [("response_flags", flag)];
        assert_eq!(tcp_sum(&proxy, "connections_opened", &labels).await, 1.0);
        let is_it = |line: &str| line.contains(&format!("\"response_flags\":\"{flag}\""));
        proxy.stdout.line("a line", is_it).await;
    }
}

#[tokio::test]
async fn an_origin_that_does_not_listen_is_said_and_another_is_tried() {
    let own = Authority::new("own.test");
    let signed = own.leaf_named(&[], &["one.test"]).sign();
    let origin = echo(&signed).await;
    let closed = Port::reserve();
    let port = Port::reserve();
    let with = |service: Service| {
        gateway(&port, &[passthrough("one.test")])
            + &service.to_string()
            + &by_name("one", "one.test", &to("one.test", "one.test"))
    };
    let nobody_listens = Service::new("one.test").protocol("TLS").at(closed.addr());
    let proxy = Proxy::start(&with(nobody_listens.clone())).await;

    let refused = connect_to(port.addr(), "one.test", anonymous()).await;
    refused.expect_err("nobody listens");
    let flags = [("response_flags", "UF")];
    assert_eq!(tcp_sum(&proxy, "connections_opened", &flags).await, 1.0);

    proxy.apply(&with(nobody_listens.at(origin))).await;
    for _ in 0..8 {
        let tls = connect_to(port.addr(), "one.test", anonymous()).await;
        tls.expect("the one that listens");
    }
}

#[tokio::test]
async fn connections_are_limited_and_the_limit_is_said() {
    let own = Authority::new("own.test");
    let origin = echo(&own.leaf_named(&[], &["one.test"]).sign()).await;
    let port = Port::reserve();
    let yaml = gateway(&port, &[passthrough("one.test")])
        + &service("one.test", origin)
        + &by_name("one", "one.test", &to("one.test", "one.test"))
        + "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one}
spec:
  host: one.test
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1, connectTimeout: 100ms}}
---
";
    let proxy = Proxy::start(&yaml).await;
    let first = connect_to(port.addr(), "one.test", anonymous()).await;
    let first = first.expect("a place");

    let second = connect_to(port.addr(), "one.test", anonymous()).await;
    second.expect_err("no place");
    let flags = [("response_flags", "UO")];
    assert_eq!(tcp_sum(&proxy, "connections_opened", &flags).await, 1.0);

    drop(first);
    let again = async || {
        connect_to(port.addr(), "one.test", anonymous())
            .await
            .is_ok()
    };
    eventually("a place again", again, |let_in| *let_in).await;
}

#[tokio::test]
async fn a_silent_connection_ends_after_the_idle_limit_of_its_destination() {
    let own = Authority::new("own.test");
    let origin = echo(&own.leaf_named(&[], &["one.test"]).sign()).await;
    let port = Port::reserve();
    let yaml = gateway(&port, &[passthrough("one.test")])
        + &service("one.test", origin)
        + &by_name("one", "one.test", &to("one.test", "one.test"))
        + "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one}
spec:
  host: one.test
  trafficPolicy:
    connectionPool: {tcp: {idleTimeout: 1s}}
---
";
    let proxy = Proxy::start(&yaml).await;
    let tls = connect_to(port.addr(), "one.test", anonymous()).await;
    let mut tls = tls.expect("a handshake");

    let ended = soon("an end", tls.read(&mut [0])).await;
    ended.expect_err("a reset");
    let flags = [("response_flags", "SI")];
    let closed = async || tcp_sum(&proxy, "connections_closed", &flags).await;
    eventually("it is counted", closed, |closed| *closed == 1.0).await;
}

#[tokio::test]
async fn weights_and_subsets_decide_where_connections_go() {
    let own = Authority::new("own.test");
    let (v1, v2) = (
        own.leaf_named(&[], &["one.test"]).sign(),
        own.leaf_named(&[], &["one.test"]).sign(),
    );
    let (first, second) = (echo(&v1).await, echo(&v2).await);
    let port = Port::reserve();
    let service = Service::new("one.test").protocol("TLS");
    let service = service.endpoint(first, "labels: {version: v1}");
    let service = service.endpoint(second, "labels: {version: v2}");
    let rules = "  - match: [{sniHosts: [one.test]}]
    route:
    - {destination: {host: one.test, subset: v1}, weight: 0}
    - {destination: {host: one.test, subset: v2}, weight: 100}
";
    let yaml = gateway(&port, &[passthrough("one.test")])
        + &service.to_string()
        + &by_name("one", "one.test", rules)
        + "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one}
spec:
  host: one.test
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
";
    let _proxy = Proxy::start(&yaml).await;

    for _ in 0..6 {
        let tls = connect_to(port.addr(), "one.test", anonymous()).await;
        assert_eq!(shown(&tls.expect("a handshake")), Some(der(&v2)));
    }
}

#[tokio::test]
async fn a_reset_of_the_origin_is_a_reset_for_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let port = Port::reserve();
    let yaml = gateway(&port, &[passthrough("one.test")])
        + &service("one.test", addr)
        + &by_name("one", "one.test", &to("one.test", "one.test"));
    let proxy = Proxy::start(&yaml).await;
    let client = tokio::spawn({
        let addr = port.addr();
        async move { connect_to(addr, "one.test", anonymous()).await }
    });

    let (mut tcp, _) = soon("a connection", listener.accept())
        .await
        .expect("it comes");
    tcp.read_exact(&mut [0; 5]).await.expect("a greeting");
    let linger = socket2::SockRef::from(&tcp);
    linger
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("an option");
    drop(tcp);

    let error = client.await.expect("no panic").expect_err("no handshake");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    let flags = [("response_flags", "UC")];
    let closed = async || tcp_sum(&proxy, "connections_closed", &flags).await;
    eventually("it is counted", closed, |closed| *closed == 1.0).await;
}

#[tokio::test]
async fn what_is_no_greeting_does_not_pass() {
    let port = Port::reserve();
    let proxy = Proxy::start(&gateway(&port, &[passthrough("*")])).await;

    let mut plain = TcpStream::connect(port.addr()).await.expect("a listener");
    plain.write_all(b"GET / HTTP/1.1\r\n").await.expect("room");

    let ended = soon("an end", plain.read(&mut [0])).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let one = async || rejections(&proxy, "tls_plain_text").await;
    eventually("a refusal", one, |refused| *refused == 1.0).await;
}

#[tokio::test]
async fn mesh_traffic_passes_by_the_service_that_its_name_says() {
    let own = Authority::new("own.test");
    let signed = own.leaf_named(&[], &["one.test"]).sign();
    let origin = echo(&signed).await;
    let port = Port::reserve();
    let server = Server {
        host: "*.local",
        protocol: "TLS",
        tls: "mode: AUTO_PASSTHROUGH".to_owned(),
    };
    let outside = service("out.default.svc.cluster.local", origin);
    let yaml = gateway(&port, &[server])
        + &service("one.default.svc.cluster.local", origin)
        + &service("one.other.test", origin)
        + &outside.replace("MESH_INTERNAL", "MESH_EXTERNAL");
    let proxy = Proxy::start(&yaml).await;
    let ask = async |name| connect_to(port.addr(), name, anonymous()).await;

    let tls = ask("outbound_.80_._.one.default.svc.cluster.local").await;
    assert_eq!(shown(&tls.expect("the service")), Some(der(&signed)));
    for name in [
        "one.default.svc.cluster.local",
        "outbound_.81_._.one.default.svc.cluster.local",
        "outbound_.80_.v9_.one.default.svc.cluster.local",
        "outbound_.80_._.one.other.test",
        "outbound_.80_._.out.default.svc.cluster.local",
    ] {
        ask(name).await.expect_err(name);
    }
    let refused = async || rejections(&proxy, "tls_unknown_name").await;
    eventually("refusals", refused, |refused| *refused == 5.0).await;
}

#[tokio::test]
async fn what_comes_out_of_tls_and_is_not_http_goes_by_the_tcp_rule() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let signed = own.leaf_named(&[], &["one.test"]).sign();
    let tls = format!(
        "mode: MUTUAL, {}, {}",
        files.pair("one", &signed),
        files.authorities("one", &[&own])
    );
    let server = Server {
        host: "one.test",
        protocol: "TLS",
        tls,
    };
    let yaml = gateway(&port, &[server])
        + &Service::new("one.test")
            .protocol("TCP")
            .at(addr)
            .to_string()
        + "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: [one.test]
  gateways: [edge]
  tcp:
  - match: [{port: 1}]
    route: [{destination: {host: gone.test}}]
  - route: [{destination: {host: one.test}}]
";
    let _proxy = Proxy::start(&yaml).await;

    let client = own.leaf("a", "b").sign().client(&[], VERSIONS);
    let tls = connect_to(port.addr(), "one.test", client).await;
    let mut tls = tls.expect("a handshake with the gateway");
    assert_eq!(shown(&tls), Some(der(&signed)));
    tls.write_all(b"ping").await.expect("room");
    let (mut tcp, _) = soon("a connection", listener.accept())
        .await
        .expect("it comes");
    let mut ping = [0; 4];
    tcp.read_exact(&mut ping).await.expect("in plain text");
    assert_eq!(&ping, b"ping");
    tcp.write_all(b"pong").await.expect("room");
    drop(tcp);
    let mut pong = Vec::new();
    soon("an end", tls.read_to_end(&mut pong))
        .await
        .expect("in good order");
    assert_eq!(pong, b"pong");

    let refused = ask(&port, "one.test", "one.test", anonymous()).await;
    assert_eq!(refused, None, "without a certificate");
}

#[tokio::test]
async fn a_policy_that_changes_ends_connections_that_it_forbids_and_no_others() {
    let own = Authority::new("own.test");
    let origin = echo(&own.leaf_named(&[], &["one.test"]).sign()).await;
    let port = Port::reserve();
    let yaml = gateway(&port, &[passthrough("one.test")])
        + &service("one.test", origin)
        + &by_name("one", "one.test", &to("one.test", "one.test"));
    let policy = |from: &str| {
        format!(
            "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: shut}}
spec: {{action: DENY, rules: [{{from: [{{source: {{ipBlocks: [{from}]}}}}]}}]}}
---
"
        )
    };
    let proxy = Proxy::start_with(&yaml, &["--access-log", "json"]).await;
    let connected = connect_to(port.addr(), "one.test", anonymous()).await;
    let mut tls = connected.expect("nobody is forbidden");

    proxy.apply(&(yaml.clone() + &policy("10.9.8.7"))).await;
    tls.write_all(b"ping").await.expect("still open");
    let mut back = [0; 4];
    soon("an echo", tls.read_exact(&mut back))
        .await
        .expect("still open");
    proxy.apply(&(yaml.clone() + &policy("127.0.0.0/8"))).await;

    let ended = soon("an end", tls.read(&mut back)).await;
    ended.expect_err("a reset");
    let denied = |line: &str| line.contains("\"response_flags\":\"UAEX\"");
    let line = proxy.stdout.line("a line of the connection", denied).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        line["connection_termination_details"],
        "rbac_access_denied_matched_policy[ns[default]-policy[shut]-rule[0]]"
    );
    assert!(line["bytes_received"].as_u64() > Some(4), "{line}");
}
