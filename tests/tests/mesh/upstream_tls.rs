//! TLS to upstreams: who is believed, who we say we are, and what becomes of connections when that
//! changes.

mod believed;
mod data;
mod mesh;
mod terms;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;
use tests::authority::{Authority, IdentityDir};
use tests::yaml::{self, Service};
use tests::{Edge, Reply, eventually};

const HOST: &str = "app.test";
/// Requests are tried once: what is refused is seen, and by whom.
const RULES: &str = "
  - retries: {attempts: 0}
    route: [{destination: {host: app.test}}]
";

/// The route, the service at `addr` that speaks `protocol`, and its rule with this `tls`.
fn documents(addr: SocketAddr, protocol: &str, tls: &str) -> [String; 3] {
    let service = Service::new(HOST).protocol(protocol).at(addr).to_string();
    [service, rule(tls), yaml::routes(HOST, RULES)]
}

/// A rule of the service with this `tls`.
fn rule(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: {HOST}
  trafficPolicy: {{tls: {{{tls}}}}}
---
"
    )
}

async fn start(addr: SocketAddr, protocol: &str, tls: &str) -> Edge {
    Edge::start(&documents(addr, protocol, tls)).await
}

/// The one answer to `GET /` on a connection of its own.
async fn get(edge: &Edge) -> Reply {
    edge.http1().await.get(HOST, "/").await
}

/// `SIMPLE` with the authority in a folder.
fn simple(roots: &IdentityDir) -> String {
    let mut tls = String::from("mode: SIMPLE");
    add_file(&mut tls, "caCertificates", &roots.file("root-cert.pem"));
    tls
}

/// `MUTUAL` with all that is in a folder.
fn mutual(own: &IdentityDir) -> String {
    let mut tls = String::from("mode: MUTUAL");
    for (field, name) in [
        ("clientCertificate", "cert-chain.pem"),
        ("privateKey", "key.pem"),
        ("caCertificates", "root-cert.pem"),
    ] {
        add_file(&mut tls, field, &own.file(name));
    }
    tls
}

fn add_file(tls: &mut String, field: &str, file: &Path) {
    write!(tls, ", {field}: {}", file.display()).expect("a string takes everything");
}

/// A folder whose authority is believed.
fn believing(authority: &Authority) -> IdentityDir {
    authority.identity_dir("shop", "edge")
}

/// Has the files read again, and waits until that is done.
async fn reload(edge: &Edge) {
    let before = edge.proxy.loaded_at().await;
    edge.proxy.signal(Signal::HUP);
    let loaded = || edge.proxy.loaded_at();
    eventually("files read again", loaded, |now| *now != before).await;
}
