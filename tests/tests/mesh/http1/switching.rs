//! Connections that change what they speak, and tunnels.

use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Script, eventually};

use super::{HOST, RULES, edge, logged, with_rules};

const SOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Key: x\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";

fn get(more: &str) -> String {
    format!("GET /chat HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n")
}

/// Switches, then sends back what it hears in pieces of four bytes.
async fn echo(mut peer: Peer) {
    peer.hear_head().await;
    // The first bytes of the new protocol come with the head.
    peer.say(&format!("{SWITCHED}hello")).await;
    loop {
        let heard = peer.hear(4).await;
        if heard.is_empty() {
            return peer.say("bye").await;
        }
        peer.say(&heard).await;
    }
}

#[tokio::test]
async fn a_websocket_is_carried_both_ways_to_its_end() {
    let origin = Script::start(echo).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(get(SOCKET)).await;
    let head = client.head().await;
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    let lower = head.to_lowercase();
    assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Accept: y\r\n"), "{head}");
    assert_eq!(client.until("hello").await, "hello");
    client.say("ping").await;
    assert_eq!(client.until("ping").await, "ping");
    client.end().await;

    assert_eq!(client.rest().await, ("bye".to_owned(), true));
    let line = logged(&edge).await;
    assert_eq!(
        (&line["response_code"], &line["response_flags"]),
        (&101.into(), &"-".into())
    );
    assert_eq!(
        (&line["bytes_received"], &line["bytes_sent"]),
        (&4.into(), &12.into())
    );
}

#[tokio::test]
async fn a_tunnel_whose_client_is_gone_is_closed_at_the_origin_too() {
    let origin = Script::start(echo).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;
    client.say(get(SOCKET)).await;
    client.until("hello").await;

    drop(client);

    let active = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_upstream_connections_active", &[])
    };
    eventually("the end of the tunnel", active, |active| *active == 0.0).await;
}

#[tokio::test]
async fn a_refused_switch_is_an_answer_like_any_other() {
    let origin = Origin::named("plain").await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    for _ in 0..2 {
        client.say(get(SOCKET)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(client.until("plain").await, "plain");
    }
    assert_eq!(origin.last().header("upgrade"), "websocket");
}

#[tokio::test]
async fn other_upgrades_are_plain_requests() {
    let origin = Origin::named("plain").await;
    let edge = edge(origin.addr(), &[]).await;
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        "Connection: Upgrade\r\nUpgrade: foo/3\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let mut client = edge.wire().await;

        client.say(get(upgrade)).await;

        assert!(
            client.head().await.starts_with("HTTP/1.1 200 OK\r\n"),
            "{upgrade}"
        );
        let seen = origin.last();
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert!(!seen.headers.contains_key(gone), "{upgrade}: {gone}");
        }
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let origin = Script::start(echo).await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client.say(get("Connection: close\r\n")).await;

    let (answer, _) = client.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    assert_eq!(logged(&edge).await["response_flags"], "UPE");
}

#[tokio::test]
async fn connect_opens_a_tunnel_where_a_rule_allows_it() {
    let origin = Script::start(async |mut peer: Peer| {
        let heard = peer.hear(4).await;
        peer.say(&heard.to_uppercase()).await;
        peer.finish().await;
    })
    .await;
    let rules = "
  - match: [{method: {exact: CONNECT}}]
    route: [{destination: {host: app.test}}]
";
    let edge = with_rules(origin.addr(), rules, &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"
        ))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"));
    client.say("ping").await;
    client.end().await;

    assert_eq!(client.rest().await, ("PING".to_owned(), true));
}

#[tokio::test]
async fn connect_is_refused_where_no_rule_names_it() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[]).await;
    let mut client = edge.wire().await;

    client
        .say(format!(
            "CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"
        ))
        .await;

    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_policy_that_changes_ends_the_tunnels_that_it_forbids_and_no_others() {
    let origin = Script::start(echo).await;
    let documents = [
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, RULES),
    ];
    let deny = |paths: &str| {
        let policy = format!(
            "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: shut}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: [{paths}], methods: [GET]}}}}]}}]}}
---
"
        );
        let [service, routes] = &documents;
        [service.clone(), routes.clone(), policy]
    };
    let edge = Edge::start_with(&documents, &["--access-log", "json"]).await;
    let mut client = edge.wire().await;
    client.say(get(SOCKET)).await;
    client.until("hello").await;

    edge.apply(&deny("/admin")).await;
    client.say("ping").await;
    assert_eq!(client.until("ping").await, "ping", "not forbidden");
    edge.apply(&deny("/chat")).await;

    assert_eq!(client.rest().await, (String::new(), false), "a reset");
    let line = logged(&edge).await;
    assert_eq!(
        (&line["response_code"], &line["response_flags"]),
        (&101.into(), &"UAEX".into())
    );
}
