//! Requests that belong to an endpoint: by a header, a cookie, a parameter or the caller's address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port};

use super::{HOST, counts, documents, origins};

const USERS: usize = 400;

/// `documents` without further fields of endpoints.
fn hashed(origins: &[Origin], hash: &str) -> [String; 3] {
    let endpoints: Vec<(&Origin, &str)> = origins.iter().map(|origin| (origin, "")).collect();
    documents(
        &endpoints,
        &format!("{{loadBalancer: {{consistentHash: {hash}}}}}"),
    )
}

/// Whose requests each user's are.
async fn owners(edge: &Edge) -> Vec<String> {
    let mut client = edge.http1().await;
    let mut owners = Vec::new();
    for user in 0..USERS {
        let name = format!("user-{user}");
        let reply = client.get_with(HOST, "/", &[("x-user", &name)]).await;
        assert_eq!(reply.status, 200);
        owners.push(reply.text().to_owned());
    }
    owners
}

#[tokio::test]
async fn one_more_endpoint_moves_hardly_more_than_its_share_and_proxies_agree() {
    for algorithm in ["ringHash: {}", "maglev: {tableSize: 65537}"] {
        let origins = origins(11).await;
        let hash = format!("{{httpHeaderName: x-user, {algorithm}}}");
        let edge = Edge::start(&hashed(&origins[..10], &hash)).await;

        let before = owners(&edge).await;
        assert_eq!(before, owners(&edge).await, "a user stays");
        edge.apply(&hashed(&origins, &hash)).await;
        let after = owners(&edge).await;
        let other = Edge::start(&hashed(&origins, &hash)).await;

        assert_eq!(after, owners(&other).await, "another proxy agrees");
        let all: BTreeSet<&String> = after.iter().collect();
        assert_eq!(all.len(), 11, "everybody has users");
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        // Of so few users a share of 1/11 is off by 5 points at three standard deviations.
        assert!(moved * 100 <= USERS * 16, "{moved} of {USERS} moved");
    }
}

#[tokio::test]
async fn without_the_header_requests_are_spread() {
    let origins = origins(3).await;
    let edge = Edge::start(&hashed(&origins, "{httpHeaderName: x-user}")).await;

    let counts = counts(&edge, 300).await;
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|count| *count > 50), "{counts:?}");
}

#[tokio::test]
async fn a_cookie_is_made_once_and_leads_back() {
    let origins = origins(5).await;
    let hash = "{httpCookie: {name: sess, path: /shop, ttl: 60s, attributes: [{name: Secure}]}}";
    let edge = Edge::start(&hashed(&origins, hash)).await;
    let mut client = edge.http1().await;

    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let first = client.get(HOST, "/").await;
        let line = first.header("set-cookie");
        let (cookie, attributes) = line.split_once(';').expect("attributes follow");
        assert_eq!(attributes, " Max-Age=60; Path=/shop; Secure; HttpOnly");
        let value = cookie
            .strip_prefix("sess=\"")
            .and_then(|it| it.strip_suffix('"'));
        let value = value.expect("a quoted value");
        assert!(value.len() == 16 && value.bytes().all(|it| it.is_ascii_hexdigit()));
        for cookie in [cookie, &format!("other=1; sess={value}")] {
            let again = client.get_with(HOST, "/", &[("cookie", cookie)]).await;
            assert_eq!(again.text(), first.text());
            assert_eq!(again.header("set-cookie"), "", "it has one");
        }
        seen.insert(first.text().to_owned());
    }
    assert!(seen.len() > 1, "users are spread");
}

#[tokio::test]
async fn a_cookie_without_lifetime_is_not_made_and_one_of_zero_lives_as_the_session() {
    let origins = origins(3).await;
    let edge = Edge::start(&hashed(&origins, "{httpCookie: {name: sess}}")).await;
    let mut client = edge.http1().await;

    assert_eq!(client.get(HOST, "/").await.header("set-cookie"), "");
    let mut owners = BTreeSet::new();
    for _ in 0..20 {
        let reply = client.get_with(HOST, "/", &[("cookie", "sess=abc")]).await;
        owners.insert(reply.text().to_owned());
    }
    assert_eq!(owners.len(), 1);

    edge.apply(&hashed(&origins, "{httpCookie: {name: sess, ttl: 0s}}"))
        .await;
    let made = client.get(HOST, "/").await;
    let line = made.header("set-cookie");
    assert!(
        line.ends_with("\"; HttpOnly") && !line.contains("Max-Age"),
        "{line}"
    );
}

#[tokio::test]
async fn parameters_and_addresses_are_keys_too() {
    let origins = origins(5).await;
    let edge = Edge::start(&hashed(&origins, "{httpQueryParameterName: user}")).await;
    let mut client = edge.http1().await;

    let mut seen = BTreeSet::new();
    for user in 0..20 {
        let first = client.get(HOST, &format!("/a?user=u{user}&user=x")).await;
        let again = client
            .get(HOST, &format!("/b?page={user}&user=u{user}"))
            .await;
        assert_eq!(first.text(), again.text(), "the first value counts");
        seen.insert(first.text().to_owned());
    }
    assert!(seen.len() > 1);

    edge.apply(&hashed(&origins, "{useSourceIp: true}")).await;
    let mut seen = BTreeSet::new();
    for user in 1..=20 {
        let source = IpAddr::V4(Ipv4Addr::new(127, 9, 0, user));
        let mut answers = BTreeSet::new();
        for _ in 0..3 {
            // A connection each time: it is the address that counts, not the port.
            let mut client = Http1::connect_from(source, edge.port.addr()).await;
            answers.insert(client.get(HOST, "/").await.text().to_owned());
        }
        assert_eq!(answers.len(), 1);
        seen.extend(answers);
    }
    assert!(seen.len() > 1);
}

#[tokio::test]
async fn a_retry_stays_with_the_endpoint_unless_its_rule_says_otherwise() {
    let origin = Origin::named("up").await;
    // Held but not listened at: connections are refused.
    let dead = Port::reserve();
    let scene = |retries: &str| {
        let service = Service::new(HOST).at(origin.addr()).at(dead.addr());
        let rule = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
---
";
        let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]\n    {retries}");
        [
            service.to_string(),
            rule.to_owned(),
            yaml::routes(HOST, &rules),
        ]
    };
    let failed = async |edge: &Edge| {
        let mut client = edge.http1().await;
        let mut failed = BTreeSet::new();
        for user in 0..30 {
            let name = format!("user-{user}");
            let reply = client.get_with(HOST, "/", &[("x-user", &name)]).await;
            if reply.status != 200 {
                assert_eq!(reply.header("x-meshproxy-error"), "connect_refused");
                failed.insert(user);
            }
        }
        failed
    };

    let edge = Edge::start(&scene("")).await;
    let of_dead = failed(&edge).await;
    assert!((1..30).contains(&of_dead.len()), "{of_dead:?}");
    assert_eq!(of_dead, failed(&edge).await, "the same users");

    edge.apply(&scene(
        "retries: {attempts: 2, retryIgnorePreviousHosts: true}",
    ))
    .await;
    assert_eq!(failed(&edge).await, BTreeSet::new());
}
