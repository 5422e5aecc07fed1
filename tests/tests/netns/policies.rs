//! Policies of the mesh hold for programs that know nothing of them.

use std::net::SocketAddr;

use tests::eventually;
use tests::netns::{Families, Sidecar};

use crate::pods::{Pods, SERVICE, STRICT, service};
use crate::servers::{Redis, Web};

/// The status that curl got; 0 if there was no answer.
async fn status(pods: &Pods, host: &tests::netns::Host, url: &str) -> u16 {
    let arguments = [
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--max-time",
        "10",
        url,
    ];
    let output = host.run("curl", &arguments).await;
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    status
        .parse()
        .unwrap_or_else(|_| panic!("curl said \"{status}\"\n{}", pods.logs()))
}

#[tokio::test]
async fn a_pod_without_a_certificate_is_refused_and_one_of_the_mesh_is_not() {
    let pods = Pods::new(Families::Both).await;
    let _web = Web::start(&pods.server, SERVICE).await;
    let stranger = pods.network.host("stranger");

    for addr in pods.server.addrs() {
        let url = format!("http://{}/", SocketAddr::new(*addr, 80));
        assert_eq!(status(&pods, &stranger, &url).await, 0, "{url}");
    }
    let refused = || async {
        let metrics = pods.server_sidecar.metrics().await;
        let labels = [("side", "downstream"), ("reason", "plain_text")];
        metrics.sum("meshproxy_tls_handshake_failures_total", &labels)
    };
    eventually("refusals that are counted", refused, |it| *it >= 2.0).await;
    let url = format!("http://{SERVICE}/");
    assert_eq!(
        status(&pods, &pods.client, &url).await,
        200,
        "{}",
        pods.logs()
    );
}

#[tokio::test]
async fn what_probes_and_scrapes_needs_no_certificate() {
    let pods = Pods::new(Families::Both).await;
    let stranger = pods.network.host("stranger");

    for addr in pods.server.addrs() {
        for (port, path) in [(15_021, "healthz/ready"), (15_090, "metrics")] {
            let url = format!("http://{}/{path}", SocketAddr::new(*addr, port));
            assert_eq!(status(&pods, &stranger, &url).await, 200, "{url}");
        }
    }
}

#[tokio::test]
async fn an_authorization_policy_decides_who_may_connect_to_a_port() {
    let only_client = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: redis, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  action: ALLOW
  rules:
  - to: [{operation: {ports: ['6379']}}]
    from: [{source: {principals: ['cluster.local/ns/default/sa/client']}}]
---
";
    let pods = Pods::with(Families::V4, only_client).await;
    let _redis = Redis::start(&pods.server).await;
    let other = pods.network.host("other");
    let addrs = pods.families.service_addrs(10);
    other.resolves(&[(SERVICE, &addrs)]);
    let identity = pods.authority.identity_dir("default", "other");
    let yaml = service(&addrs, &pods.server) + STRICT;
    let _sidecar = Sidecar::capturing(&other, &yaml, Some(&identity)).await;

    let ping = ["-h", SERVICE, "PING"];
    let allowed = pods.client.run("redis-cli", &ping).await;
    let denied = other.run("redis-cli", &ping).await;

    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text(&allowed), "PONG\n", "{}", pods.logs());
    assert!(!text(&denied).contains("PONG"), "{}", pods.logs());
}
