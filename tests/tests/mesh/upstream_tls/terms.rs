//! What becomes of connections when the terms change, and of what rules say on several levels.

use super::*;
use tests::Origin;
use tests::origin::Protocol;

#[tokio::test]
async fn connections_are_used_again_until_the_terms_change() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST, "b.test"]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server(&["http/1.1"])).await;
    let edge = start(origin.addr(), "HTTP", &simple(&folder)).await;
    let apply = async |more: &str| {
        let tls = simple(&folder) + more;
        edge.apply(&documents(origin.addr(), "HTTP", &tls)).await;
    };
    // One of a client's connections is served by one worker.
    let mut client = edge.http1().await;
    for _ in 0..3 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    }
    assert_eq!(origin.connections(), 1);

    // A change of something else.
    let mut other = documents(origin.addr(), "HTTP", &simple(&folder));
    other[2] = other[2].replace("attempts: 0", "attempts: 1");
    edge.apply(&other).await;
    client.get(HOST, "/").await;
    assert_eq!(origin.connections(), 1);

    apply(", sni: b.test").await;
    client.get(HOST, "/").await;
    assert_eq!(origin.connections(), 2);
    apply(", sni: b.test, subjectAltNames: [app.test]").await;
    client.get(HOST, "/").await;
    assert_eq!(origin.connections(), 3);

    // Back to plain text: no connection in TLS serves for it, nor the other way round.
    edge.apply(&documents(origin.addr(), "HTTP", "mode: DISABLE"))
        .await;
    assert_ne!(client.get(HOST, "/").await.status, 200);
    let names = origin.handshakes().into_iter().map(|it| it.server_name);
    assert_eq!(names.collect::<Vec<_>>(), [HOST, "b.test", "b.test"]);
    let mut protocols = origin.handshakes().into_iter().map(|it| it.protocol);
    assert!(protocols.all(|it| it == "http/1.1"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_by_new_connections_and_the_old_ones_serve_on() {
    let ours = Authority::new("cluster.local");
    let own = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server_for(&ours, &[])).await;
    let edge = start(origin.addr(), "HTTP", &mutual(&own)).await;
    let mut client = edge.http1().await;
    client.get(HOST, "/").await;

    own.replace(&ours.leaf("shop", "edge").sign(), &[&ours]);
    reload(&edge).await;
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    assert_eq!(origin.connections(), 1);

    // Other authorities are other terms, even if they believe the same server.
    own.replace(
        &ours.leaf("shop", "edge").sign(),
        &[&ours, &Authority::new("other")],
    );
    reload(&edge).await;
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_file_that_does_not_fit_keeps_everything_as_it_was() {
    let ours = Authority::new("cluster.local");
    let own = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let origin = Origin::secured(Protocol::Http1, "app", signed.server_for(&ours, &[])).await;
    let edge = start(origin.addr(), "HTTP", &mutual(&own)).await;
    let mut client = edge.http1().await;
    client.get(HOST, "/").await;

    own.write("key.pem", &ours.leaf("shop", "other").sign().key);
    let bad = documents(origin.addr(), "HTTP", &(mutual(&own) + ", sni: b.test"));
    let bad = yaml::gateway(&edge.port) + &bad.concat();
    edge.proxy.refuse(&bad).await;

    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));
    let problems = edge.proxy.admin("/config").await["problems"].to_string();
    let said = "spec.trafficPolicy.tls.privateKey";
    assert!(problems.contains(said), "{problems}");
}

#[tokio::test]
async fn a_subset_and_a_port_have_terms_of_their_own() {
    let ours = Authority::new("cluster.local");
    let folder = believing(&ours);
    let signed = ours.leaf_named(&[], &[HOST]).sign();
    let secured = Origin::secured(Protocol::Http1, "secured", signed.server(&[])).await;
    let plain = Origin::named("plain").await;
    let service = Service::new(HOST)
        .version(secured.addr(), "v1")
        .version(plain.addr(), "v2");
    let tls = simple(&folder);
    let rule = |of_host: &str, of_port: &str, of_subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: {HOST}
  trafficPolicy:
    {of_host}
    {of_port}
  subsets:
  - {{name: v1, labels: {{version: v1}}{of_subset}}}
  - {{name: v2, labels: {{version: v2}}}}
---
"
        )
    };
    let routes = "
  - match: [{uri: {prefix: /v1}}]
    retries: {attempts: 0}
    route: [{destination: {host: app.test, subset: v1}}]
  - retries: {attempts: 0}
    route: [{destination: {host: app.test, subset: v2}}]
";
    let with = |rule: String| [service.to_string(), rule, yaml::routes(HOST, routes)];
    let of_subset = format!(", trafficPolicy: {{tls: {{{tls}}}}}");
    let edge = Edge::start(&with(rule("{}", "", &of_subset).replace("    {}\n", ""))).await;

    let mut client = edge.http1().await;
    assert_eq!(client.get(HOST, "/v1").await.brief(), (200, "secured"));
    assert_eq!(client.get(HOST, "/v2").await.brief(), (200, "plain"));

    // The port's settings take the place of the host's, also where they are unset.
    let of_host = format!("tls: {{{tls}}}");
    let of_port = "portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]";
    edge.apply(&with(rule(&of_host, of_port, &of_subset))).await;
    assert_eq!(client.get(HOST, "/v1").await.brief(), (200, "secured"));
    assert_eq!(client.get(HOST, "/v2").await.brief(), (200, "plain"));

    edge.apply(&with(rule(
        &of_host,
        "",
        ", trafficPolicy: {tls: {mode: DISABLE}}",
    )))
    .await;
    assert_ne!(client.get(HOST, "/v1").await.status, 200);
    assert_ne!(client.get(HOST, "/v2").await.status, 200);
}
