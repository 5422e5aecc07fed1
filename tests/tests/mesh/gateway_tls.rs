//! Gateways that ask their clients for certificates, show several of their own, or are shut.

mod alerts;
mod clients;
mod crowds;
mod passthrough;
mod servers;
mod swap;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tests::authority::nobody;
use tests::gateway::connect_to;
use tests::yaml::{self, Service};
use tests::{Http1, Http2, Origin, Port, Proxy, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Versions that are spoken.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A client without a certificate that offers HTTP/1.1.
fn anonymous() -> ClientConfig {
    nobody(&["http/1.1"], VERSIONS)
}

/// Routes of `host` to `origin`, through any gateway.
fn routes(host: &str, origin: &Origin) -> String {
    let service = Service::new(host).at(origin.addr()).to_string();
    let rules = format!("  - route: [{{destination: {{host: {host}}}}}]");
    service + &yaml::routes(host, &rules)
}

/// What a client gets that asks `name` for `host`: the status, or none if it is not let in. A server
/// of TLS 1.3 refuses a certificate after the client took the handshake for done.
async fn ask(port: &Port, name: &str, host: &str, config: ClientConfig) -> Option<u16> {
    let mut tls = connect_to(port.addr(), name, config).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    soon("an answer", tls.read_to_end(&mut answer)).await.ok()?;
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).expect("a status line");
    Some(status.parse().expect("a status"))
}

/// An HTTP/2 connection of a client without a certificate.
async fn http2_to(port: &Port, name: &str) -> Http2 {
    let tls = connect_to(port.addr(), name, nobody(&["h2"], VERSIONS)).await;
    Http2::over(tls.expect("a handshake")).await
}

async fn rejections(proxy: &Proxy, cause: &str) -> f64 {
    let metrics = proxy.metrics().await;
    metrics.sum("meshproxy_downstream_rejections_total", &[("cause", cause)])
}
