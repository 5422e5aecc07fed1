//! Gateways that terminate TLS.

use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use tests::tls::Certificate;
use tests::yaml::{self, Service};
use tests::{Http1, Http2, Origin, Port, Proxy, binary, eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A gateway with a server for each host and its `tls`.
fn gateway(port: &Port, servers: &[(&str, String)]) -> String {
    let servers = servers.iter().enumerate().map(|(number, (host, tls))| {
        format!(
            "  - hosts: ['{host}']
    port: {{name: https-{number}, number: {port}, protocol: HTTPS}}
    tls: {{{tls}}}
"
        )
    });
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  servers:
{}---
",
        servers.collect::<String>()
    )
}

/// Routes of `host` to `origin`.
fn routes(host: &str, origin: &Origin) -> String {
    let service = Service::new(host).at(origin.addr()).to_string();
    let rules = format!("  - route: [{{destination: {{host: {host}}}}}]");
    service + &yaml::routes(host, &rules)
}

async fn rejections(proxy: &Proxy, cause: &str) -> f64 {
    let metrics = proxy.metrics().await;
    metrics.sum("meshproxy_downstream_rejections_total", &[("cause", cause)])
}

/// The whole answer to `GET /` of `host` over HTTP/1.1.
async fn get(mut tls: impl AsyncIo, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    tls.write_all(request.as_bytes())
        .await
        .expect("a request is taken");
    let mut answer = Vec::new();
    let read = soon("an answer", tls.read_to_end(&mut answer)).await;
    read.expect("an orderly end");
    String::from_utf8(answer).expect("text")
}

trait AsyncIo: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncIo for T {}

#[tokio::test]
async fn servers_of_one_port_are_told_apart_by_the_name_in_tls() {
    let (one, two) = (Origin::named("one").await, Origin::named("two").await);
    let (cert_one, cert_two) = (
        Certificate::of(&["one.test"]),
        Certificate::of(&["a.two.test"]),
    );
    let port = Port::reserve();
    let servers = [
        ("one.test", cert_one.fields()),
        ("*.two.test", cert_two.fields()),
    ];
    let routes = routes("one.test", &one) + &routes("a.two.test", &two);
    let proxy = Proxy::start(&(gateway(&port, &servers) + &routes)).await;

    let http1 = ["http/1.1"];
    let tls = cert_one
        .connect(port.addr(), "one.test", &http1, ALL_VERSIONS)
        .await;
    let answer = get(tls.expect("its certificate"), "one.test").await;
    assert!(answer.ends_with("one"), "{answer}");
    assert_eq!(one.last().header("x-forwarded-proto"), "https");

    let offered = ["h2", "http/1.1"];
    let tls = cert_two
        .connect(port.addr(), "a.two.test", &offered, ALL_VERSIONS)
        .await;
    let tls = tls.expect("its certificate");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut http2 = Http2::over(tls).await;
    assert_eq!(http2.get("a.two.test", "/").await.brief(), (200, "two"));
    assert_eq!(
        http2.get("one.test", "/").await.status,
        421,
        "not of this server"
    );

    let refused = cert_one
        .connect(port.addr(), "three.test", &[], ALL_VERSIONS)
        .await;
    refused.expect_err("nobody has that name");
    let one = async || rejections(&proxy, "tls_unknown_name").await;
    eventually("a refusal", one, |refused| *refused == 1.0).await;
}

#[tokio::test]
async fn only_the_versions_that_a_server_allows_are_spoken() {
    let origin = Origin::named("app").await;
    let cert = Certificate::of(&["new.test", "old.test"]);
    let port = Port::reserve();
    let servers = [
        ("new.test", cert.fields() + ", minProtocolVersion: TLSV1_3"),
        ("old.test", cert.fields() + ", maxProtocolVersion: TLSV1_2"),
    ];
    let yaml = gateway(&port, &servers) + &routes("old.test", &origin);
    let proxy = Proxy::start(&yaml).await;

    for (name, version, spoken) in [
        ("new.test", &TLS13, true),
        ("new.test", &TLS12, false),
        ("old.test", &TLS12, true),
        ("old.test", &TLS13, false),
    ] {
        let tls = cert.connect(port.addr(), name, &[], &[version]).await;
        assert_eq!(tls.is_ok(), spoken, "{name} {version:?}");
    }
    let two = async || rejections(&proxy, "tls_incompatible").await;
    eventually("two refusals", two, |refused| *refused == 2.0).await;
}

#[tokio::test]
async fn what_is_no_tls_is_refused_and_counted() {
    let cert = Certificate::of(&["app.test"]);
    let port = Port::reserve();
    let proxy = Proxy::start(&gateway(&port, &[("*", cert.fields())])).await;

    let plain = TcpStream::connect(port.addr()).await.expect("a listener");
    let request = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
    let mut plain = plain;
    plain.write_all(request.as_bytes()).await.expect("room");
    let mut answer = Vec::new();
    let read = soon("an answer", plain.read_to_end(&mut answer)).await;
    read.expect("an orderly end");
    let answer = String::from_utf8(answer).expect("text");
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("HTTPS port"), "{answer}");
    let mut odd = TcpStream::connect(port.addr()).await.expect("a listener");
    odd.write_all(b"\0get").await.expect("room");
    let mut answer = Vec::new();
    let _ = soon("an end", odd.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"", "whoever speaks no HTTP hears none");
    drop(TcpStream::connect(port.addr()).await.expect("a listener"));

    for cause in ["tls_plain_text", "tls_protocol_error", "tls_closed"] {
        let one = async || rejections(&proxy, cause).await;
        eventually(cause, one, |refused| *refused == 1.0).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_missing_changes_nothing_and_is_named() {
    let cert = Certificate::of(&["app.test"]);
    let origin = Origin::named("app").await;
    let port = Port::reserve();
    let good = gateway(&port, &[("app.test", cert.fields())]) + &routes("app.test", &origin);
    let proxy = Proxy::start(&good).await;
    let bad = good.replace("cert.pem", "gone.pem");

    proxy.refuse(&bad).await;

    let tls = cert
        .connect(port.addr(), "app.test", &[], ALL_VERSIONS)
        .await;
    let answer = get(tls.expect("the certificate from before"), "app.test").await;
    assert!(answer.ends_with("app"), "{answer}");
    let check = ["check", proxy.config().to_str().expect("a path")];
    let output = binary::run(&check).await;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let place = "mesh.yaml:8:44: spec.servers[0].tls.serverCertificate: cannot be read from ";
    assert!(output.contains(place), "{output}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_reload_and_open_connections_stay() {
    let (old, new) = (
        Certificate::of(&["app.test"]),
        Certificate::of(&["app.test"]),
    );
    let origin = Origin::named("app").await;
    let port = Port::reserve();
    let yaml = |cert: &Certificate| {
        gateway(&port, &[("app.test", cert.fields())]) + &routes("app.test", &origin)
    };
    let proxy = Proxy::start(&yaml(&old)).await;
    let tls = old
        .connect(port.addr(), "app.test", &["h2"], ALL_VERSIONS)
        .await;
    let mut http2 = Http2::over(tls.expect("the old certificate")).await;

    proxy.apply(&yaml(&new)).await;

    assert_eq!(http2.get("app.test", "/").await.brief(), (200, "app"));
    let tls = new
        .connect(port.addr(), "app.test", &[], ALL_VERSIONS)
        .await;
    tls.expect("the new certificate");
    let tls = old
        .connect(port.addr(), "app.test", &[], ALL_VERSIONS)
        .await;
    tls.expect_err("not the old one");
}

#[tokio::test]
async fn a_plain_connection_does_not_outlive_the_change_of_its_port_to_tls() {
    let cert = Certificate::of(&["app.test"]);
    let origin = Origin::named("app").await;
    let port = Port::reserve();
    let routes = routes("app.test", &origin);
    let secured = gateway(&port, &[("app.test", cert.fields())]) + &routes;
    let proxy = Proxy::start(&(yaml::gateway(&port) + &routes)).await;
    let mut plain = Http1::connect(port.addr()).await;
    assert_eq!(plain.get("app.test", "/").await.brief(), (200, "app"));

    proxy.apply(&secured).await;

    assert_eq!(plain.get("app.test", "/").await.status, 404);
    let tls = cert
        .connect(port.addr(), "app.test", &[], ALL_VERSIONS)
        .await;
    let answer = get(tls.expect("its certificate"), "app.test").await;
    assert!(answer.ends_with("app"), "{answer}");
}
