//! What counts against an endpoint, and what does not.

use http::Method;
use tests::client::{full, get, request};
use tests::origin::{NARROW_STREAMS, Protocol};
use tests::yaml::{self, Service};
use tests::{Edge, Port, eventually};
use tokio::task::JoinSet;

use super::mood::Mood;
use super::{HOST, documents, health, is_ejected, rule, status};

const ONE: &str = "consecutive5xxErrors: 1, baseEjectionTime: 1h, maxEjectionPercent: 100";

fn with_rules(service: &Service, detection: &str, rules: &str) -> [String; 3] {
    [
        service.to_string(),
        rule(detection, ""),
        yaml::routes(HOST, rules),
    ]
}

#[tokio::test]
async fn listed_codes_count_instead_of_server_errors() {
    let mood = Mood::start().await;
    let detection = format!("{ONE}, outlierDetectionHttpErrorCodes: [429]");
    let service = Service::new(HOST).at(mood.origin.addr());
    let edge = Edge::start(&documents(&service, &detection)).await;

    for (said, seen) in [(500, 500), (503, 503), (200, 200), (429, 429), (200, 503)] {
        mood.answers(said);
        assert_eq!(status(&edge).await, seen, "{said}");
    }
}

#[tokio::test]
async fn errors_of_the_gateway_have_a_streak_of_their_own() {
    let mood = Mood::start().await;
    let addr = mood.origin.addr();
    let detection = "consecutiveGatewayErrors: 2, maxEjectionPercent: 100";
    let service = Service::new(HOST).at(addr);
    let edge = Edge::start(&documents(&service, detection)).await;

    for said in [502, 500, 504] {
        mood.answers(said);
        assert_eq!(status(&edge).await, said);
    }
    let streaks = health(&edge, addr).await["streaks"].clone();
    assert_eq!(
        streaks,
        serde_json::json!({"errors": 3, "gatewayErrors": 1, "localFailures": 0})
    );
    mood.answers(503);
    assert_eq!(status(&edge).await, 503);

    let health = health(&edge, addr).await;
    assert_eq!(health["ejected"]["cause"], "consecutive_gateway");
}

#[tokio::test]
async fn when_split_failures_without_an_answer_count_apart() {
    let dead = Port::reserve();
    let detection = "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, \
                     consecutive5xxErrors: 1, maxEjectionPercent: 100";
    let service = Service::new(HOST).at(dead.addr());
    let edge = Edge::start(&documents(&service, detection)).await;
    let mut client = edge.http1().await;

    for expected in ["connect_refused", "connect_refused", "no_healthy_upstream"] {
        let reply = client.get(HOST, "/").await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("x-meshproxy-error"), expected);
    }

    let health = health(&edge, dead.addr()).await;
    assert_eq!(health["ejected"]["cause"], "consecutive_local_origin");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_ejected() {
    for limit in [
        "timeout: 100ms, retries: {attempts: 0}",
        "retries: {attempts: 1, perTryTimeout: 100ms}",
    ] {
        let mood = Mood::start().await;
        let rules = format!("\n  - {{{limit}, route: [{{destination: {{host: {HOST}}}}}]}}\n");
        let service = Service::new(HOST).at(mood.origin.addr());
        let edge = Edge::start(&with_rules(&service, ONE, &rules)).await;

        mood.is_silent();
        assert_eq!(status(&edge).await, 504, "{limit}");
        mood.answers(200);
        assert_eq!(status(&edge).await, 503, "{limit}");

        let health = health(&edge, mood.origin.addr()).await;
        assert_eq!(health["ejected"]["cause"], "consecutive_5xx", "{limit}");
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_says_nothing_about_the_endpoint() {
    let mood = Mood::start().await;
    let addr = mood.origin.addr();
    let service = Service::new(HOST).at(addr);
    let edge = Edge::start(&documents(&service, ONE)).await;
    mood.is_silent();

    // One with a deadline of its own, and one that goes away.
    let headers = [
        ("content-type", "application/grpc"),
        ("grpc-timeout", "50m"),
    ];
    let call = request(Method::POST, HOST, "/S/M", &headers, full("message"));
    let reply = edge.http1().await.send(call).await;
    assert_eq!(reply.header("x-meshproxy-error"), "deadline_exceeded");
    let mut client = edge.http1().await;
    let begun = tokio::spawn(async move { client.begin(get(HOST, "/")).await.map(drop) });
    let asked = async || mood.origin.requests();
    eventually("a second request", asked, |count| *count == 2).await;
    begun.abort();
    let idle = async || super::endpoints(&edge).await[0]["active"].clone();
    eventually("the end of it", idle, |active| *active == 0).await;

    mood.answers(200);
    assert_eq!(status(&edge).await, 200);
    let streaks = health(&edge, addr).await["streaks"].clone();
    assert_eq!(streaks["errors"], 0);
}

/// Fills all connections that the proxy may open, so that one more request waits for room until its
/// time is over.
#[tokio::test]
async fn a_wait_for_room_on_our_side_says_nothing_about_the_endpoint() {
    const STREAMS: usize = 64 * NARROW_STREAMS as usize;
    let mood = Mood::speaking(Protocol::NarrowHttp2).await;
    let addr = mood.origin.addr();
    let rules = "
  - match: [{uri: {prefix: /held}}]
    retries: {attempts: 0}
    route: [{destination: {host: fragile.test}}]
  - timeout: 300ms
    retries: {attempts: 0}
    route: [{destination: {host: fragile.test}}]
";
    let service = Service::new(HOST).protocol("HTTP2").at(addr);
    let edge = Edge::start_with(&with_rules(&service, ONE, rules), &["--workers", "1"]).await;
    mood.is_silent();
    let mut held = JoinSet::new();
    for _ in 0..STREAMS {
        let mut client = edge.http1().await;
        held.spawn(async move { client.begin(get(HOST, "/held")).await.map(drop) });
    }
    let asked = async || mood.origin.requests();
    eventually("all places taken", asked, |count| *count == STREAMS).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.header("x-meshproxy-error"), "response_timeout");
    assert_eq!(mood.origin.requests(), STREAMS, "it was never asked");
    assert!(!is_ejected(&health(&edge, addr).await));
}

#[tokio::test]
async fn a_status_of_grpc_in_the_head_of_an_answer_counts() {
    let mood = Mood::speaking(Protocol::Http2).await;
    let addr = mood.origin.addr();
    let service = Service::new(HOST).protocol("GRPC").at(addr);
    let edge = Edge::start(&documents(&service, ONE)).await;
    let call = async || {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let call = request(Method::POST, HOST, "/S/M", &headers, full("message"));
        edge.http2().await.send(call).await
    };

    // UNIMPLEMENTED, UNAVAILABLE.
    mood.answers(12);
    assert_eq!(call().await.header("grpc-status"), "12");
    assert!(!is_ejected(&health(&edge, addr).await));
    mood.answers(14);
    assert_eq!(call().await.header("grpc-status"), "14");

    assert!(is_ejected(&health(&edge, addr).await));
}
