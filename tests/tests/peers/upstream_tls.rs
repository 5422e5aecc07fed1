//! Servers of others behind TLS: OpenSSL by itself, and nginx with keep-alive and HTTP/2.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tests::yaml::{self, Service};
use tests::{Authority, Edge, IdentityDir, Reply, eventually};
use tokio::net::UnixStream;

use crate::process::Running;
use crate::tools;

const HOST: &str = "app.test";
const RULES: &str = "
  - route: [{destination: {host: app.test}}]
";

/// Whose certificate is for the host, and whose for the proxy; both from one authority.
fn folders() -> (IdentityDir, IdentityDir) {
    let ours = Authority::new("cluster.local");
    let host = ours.leaf_named(&[], &[HOST]).sign();
    let own = ours.identity_dir("shop", "edge");
    (IdentityDir::new(&host, &[&ours]), own)
}

/// A service with an endpoint, and a rule that shows the proxy's certificate if it is asked to.
fn documents(service: String, own: &IdentityDir, mode: &str) -> [String; 3] {
    let file = |name| own.file(name).display().to_string();
    let rule = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: {HOST}
  trafficPolicy:
    tls:
      mode: {mode}
      clientCertificate: {}
      privateKey: {}
      caCertificates: {}
---
",
        file("cert-chain.pem"),
        file("key.pem"),
        file("root-cert.pem"),
    );
    [service, rule, yaml::routes(HOST, RULES)]
}

async fn get(edge: &Edge) -> Reply {
    edge.http1().await.get(HOST, "/").await
}

/// An address that is free now. OpenSSL shares none, so that it cannot be held.
fn free() -> SocketAddr {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(any).expect("a port is free");
    listener.local_addr().expect("a bound socket")
}

#[tokio::test]
async fn openssl_is_spoken_to_in_both_versions_and_knows_whom_it_wants() {
    let (host, own) = folders();
    let file = |name| host.file(name).display().to_string();

    for version in ["-tls1_2", "-tls1_3"] {
        let addr = free();
        let (chain, key, roots) = (
            file("cert-chain.pem"),
            file("key.pem"),
            file("root-cert.pem"),
        );
        let accept = addr.to_string();
        let arguments = [
            "s_server",
            "-accept",
            &accept,
            "-cert",
            &chain,
            "-key",
            &key,
            "-CAfile",
            &roots,
            "-Verify",
            "1",
            "-verify_return_error",
            "-www",
            version,
        ];
        let _server = Running::start(&tools::debian("openssl", "openssl"), &arguments);
        let service = || Service::new(HOST).at(addr).to_string();
        let edge = Edge::start(&documents(service(), &own, "MUTUAL")).await;

        let status = || async { get(&edge).await.status.as_u16() };
        eventually("OpenSSL", status, |status| *status == 200).await;
        for _ in 0..3 {
            let reply = get(&edge).await;
            assert!(reply.text().contains("s_server"), "{reply:?}");
        }

        edge.apply(&documents(service(), &own, "SIMPLE")).await;
        let refused = get(&edge).await;
        let detail = refused.header("x-meshproxy-error");
        assert_eq!(
            (refused.status.as_u16(), detail),
            (503, "connect_tls_refused"),
            "{version}"
        );
    }
}

#[tokio::test]
async fn nginx_ends_connections_and_no_request_fails() {
    let (host, own) = folders();
    let folder = host.path().display().to_string();
    let template = fs::read_to_string(tools::own("secured.nginx.conf")).expect("a template");
    host.write("nginx.conf", &template.replace("FOLDER", &folder));
    let file = host.file("nginx.conf").display().to_string();
    let nginx = tools::debian("nginx", "nginx");
    let _running = Running::start(&nginx, &["-p", &folder, "-c", &file]);
    let socket = host.file("socket");
    let connects = || async { UnixStream::connect(&socket).await.is_ok() };
    eventually("nginx", connects, |connects| *connects).await;
    let service = |protocol: &str| {
        let service = Service::new(HOST).protocol(protocol).to_string();
        let endpoint = format!("endpoints: [{{address: 'unix://{}'}}]", socket.display());
        service.replacen("endpoints: []", &endpoint, 1)
    };
    let edge = Edge::start(&documents(service("HTTP"), &own, "MUTUAL")).await;

    for (protocol, spoken) in [("HTTP", "HTTP/1.1"), ("HTTP2", "HTTP/2.0")] {
        edge.apply(&documents(service(protocol), &own, "MUTUAL"))
            .await;
        let mut client = edge.http1().await;
        for turn in 0..40 {
            let reply = client.get(HOST, "/").await;
            let expected = format!("{spoken} {HOST} SUCCESS\n");
            assert_eq!(reply.brief(), (200, &*expected), "{protocol} {turn}");
        }
    }
}
