//! A proxy that is started anew while it follows a control plane.

use rustix::process::Signal;
use tests::Script;

use super::*;

#[tokio::test]
async fn a_program_that_is_started_anew_begins_with_what_was_told_although_nobody_tells_it_again() {
    let origin = Origin::named("a").await;
    let port = Port::reserve();
    let control = plain(&[sidecar(&port), service("a.test", &origin)]).await;
    let mut proxy = Proxy::follow(&plain_url(&control), &[]).await;
    let get = async || {
        let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;
        (reply.status.as_u16(), reply.text().to_owned())
    };
    assert_eq!(get().await, (200, "a".to_owned()));
    drop(control);
    let is_away = |following: &Value| following["connected"].is_null();
    eventually("no control plane", || following(&proxy), is_away).await;

    proxy.upgrade().await;

    assert_eq!(get().await, (200, "a".to_owned()));
    let following = following(&proxy).await;
    assert!(following["connected"].is_null(), "{following}");
    assert_eq!(following["demands"]["host:a.test"], true);
}

#[tokio::test]
async fn a_host_is_found_while_another_process_is_on_its_way() {
    // Keys that never come: a proxy takes three seconds to start.
    let keys = Script::start(|mut peer| async move {
        peer.hear_head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let tokens = format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens}}
spec: {{jwtRules: [{{issuer: a, jwksUri: 'http://{}/keys'}}]}}
---
",
        keys.addr()
    );
    let origin = Origin::named("a").await;
    let (port, inbound) = (Port::reserve(), Port::reserve());
    let ingress = format!(
        "  ingress:
  - port: {{number: {inbound}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}
---
",
        origin.addr().port()
    );
    let sidecar = sidecar(&port).replace("---\n", &ingress);
    let control = plain(&[sidecar, tokens, service("a.test", &origin)]).await;
    let mut proxy = Proxy::follow(&plain_url(&control), &["--demand-timeout", "2s"]).await;

    proxy.signal(Signal::USR2);
    let is_begun = |line: &str| line.contains("started anew");
    proxy.stderr.line("another process", is_begun).await;
    let reply = Http1::connect(port.addr()).await.get("a.test", "/").await;

    assert_eq!(reply.brief(), (200, "a"));
    let lines = proxy.stderr.all();
    let is_replaced = lines.iter().any(|line| line.contains("replaced;"));
    assert!(!is_replaced, "it was the first process that answered");
    proxy.replaced(0).await;
}
