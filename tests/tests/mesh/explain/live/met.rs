//! What a request met on its way: faults, limits, mirrors, and the endpoints of all attempts.

use serde_json::json;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port};

use super::{ASK, HOST, account};

const ALLOWED: [&str; 2] = ["--explain-from", "127.0.0.1"];

fn documents(origin: &Origin, rules: &str) -> [String; 2] {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    [service, yaml::routes(HOST, rules)]
}

#[tokio::test]
async fn every_endpoint_that_was_tried_is_told_in_order_and_how_it_ended() {
    // Held but not listened at: connections are refused.
    let dead = [Port::reserve(), Port::reserve()];
    let service = Service::new(HOST).at(dead[0].addr()).at(dead[1].addr());
    let rules = "
  - retries: {attempts: 1, retryOn: connect-failure}
    route: [{destination: {host: reviews.test}}]
";
    let documents = [service.to_string(), yaml::routes(HOST, rules)];
    let edge = Edge::start_with(&documents, &ALLOWED).await;

    let reply = edge.http1().await.get_with(HOST, "/", &[ASK]).await;

    assert_eq!(reply.status, 503);
    let told = account(reply.header(ASK.0));
    let tried = told["tried"].as_array().expect("a list");
    let mut endpoints: Vec<&str> = tried
        .iter()
        .map(|it| it["endpoint"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(told["endpoint"], endpoints[1], "the last one");
    endpoints.sort_unstable();
    let mut expected = dead.each_ref().map(|port| port.addr().to_string());
    expected.sort_unstable();
    assert_eq!(endpoints, expected);
    for tried in tried {
        assert_eq!(tried["ended"], "connect_refused", "{told}");
    }
    assert_eq!(told["percent"], 100.0);
}

#[tokio::test]
async fn faults_that_were_injected_are_told() {
    let origin = Origin::named("v1").await;
    let rules = "
  - fault:
      delay: {percentage: {value: 100}, fixedDelay: 1ms}
      abort: {percentage: {value: 100}, httpStatus: 418}
    route: [{destination: {host: reviews.test}}]
";
    let edge = Edge::start_with(&documents(&origin, rules), &ALLOWED).await;

    let reply = edge.http1().await.get_with(HOST, "/", &[ASK]).await;

    assert_eq!(reply.status, 418);
    let told = account(reply.header(ASK.0));
    assert_eq!(told["faults"], json!(["delay 1ms", "abort 418"]));
    assert_eq!(told["attempts"], 0);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn mirrors_that_got_a_copy_are_told_with_the_share_of_the_target() {
    let origin = Origin::named("v1").await;
    let rules = "
  - mirrors: [{destination: {host: reviews.test}}, {destination: {host: nowhere.test}}]
    route:
    - {destination: {host: reviews.test}, weight: 75}
    - {destination: {host: reviews.test}, weight: 25}
";
    let edge = Edge::start_with(&documents(&origin, rules), &ALLOWED).await;

    let reply = edge.http1().await.get_with(HOST, "/", &[ASK]).await;

    let told = account(reply.header(ASK.0));
    assert_eq!(told["mirrors"], json!(["outbound|80||reviews.test"]));
    let percent = &told["percent"];
    assert!(*percent == 75.0 || *percent == 25.0, "{told}");
}

#[tokio::test]
async fn the_limit_that_refused_a_request_is_told() {
    let origin = Origin::named("v1").await;
    let [service, routes] = documents(
        &origin,
        "  - route: [{destination: {host: reviews.test}}]\n",
    );
    let policy = "apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: fair}
spec:
  limits: [{name: one, requests: 1, per: 1h}]
---
";
    let documents = [service, routes, policy.to_owned()];
    let edge = Edge::start_with(&documents, &ALLOWED).await;
    let mut client = edge.http1().await;

    let passed = client.get_with(HOST, "/", &[ASK]).await;
    let refused = client.get_with(HOST, "/", &[ASK]).await;

    assert_eq!(
        (passed.status.as_u16(), refused.status.as_u16()),
        (200, 429)
    );
    assert_eq!(account(passed.header(ASK.0)).get("rateLimit"), None);
    let told = account(refused.header(ASK.0));
    assert_eq!(told["rateLimit"], "default/fair/one");
    assert_eq!(told["flags"], "RL");
}
