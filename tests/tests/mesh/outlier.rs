//! Outlier detection: endpoints that fail are left alone for a time.
//!
//! Nothing is retried here, so that every failure shows, and endpoints are taken in turn.

mod causes;
mod mood;

use std::net::SocketAddr;

use serde_json::Value;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, eventually};

use mood::Mood;

const HOST: &str = "fragile.test";
const RULES: &str = "
  - retries: {attempts: 0}
    route: [{destination: {host: fragile.test}}]
";

/// A `DestinationRule` with `detection` as its `outlierDetection`, if it has one, and `annotation`.
fn rule(detection: &str, annotation: &str) -> String {
    let block = match detection {
        "" => String::new(),
        fields => format!("\n    outlierDetection: {{{fields}}}"),
    };
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: fragile
  annotations: {{{annotation}}}
spec:
  host: {HOST}
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}{block}
---
"
    )
}

fn documents(service: &Service, detection: &str) -> [String; 3] {
    [
        service.to_string(),
        rule(detection, ""),
        yaml::routes(HOST, RULES),
    ]
}

/// Endpoints of the service, as `/destinations` shows them.
async fn endpoints(edge: &Edge) -> Vec<Value> {
    let destinations = edge.proxy.admin("/destinations").await;
    let all = destinations.as_array().expect("a list");
    let ours = all.iter().find(|it| it["host"] == HOST);
    let endpoints = ours.map(|it| &it["endpoints"]).and_then(Value::as_array);
    endpoints.cloned().unwrap_or_default()
}

/// The health of the endpoint at `addr`.
async fn health(edge: &Edge, addr: SocketAddr) -> Value {
    let addr = addr.to_string();
    let endpoints = endpoints(edge).await.into_iter();
    let mut ours = endpoints.filter(|it| it["address"] == *addr);
    let found = ours.next();
    found.map_or(Value::Null, |mut endpoint| endpoint["health"].take())
}

fn is_ejected(health: &Value) -> bool {
    health["available"] == false && !health["ejected"].is_null()
}

async fn status(edge: &Edge) -> u16 {
    edge.http1().await.get(HOST, "/").await.status.as_u16()
}

/// Asks until the endpoint is ejected.
async fn ask_until_ejected(edge: &Edge, addr: SocketAddr) {
    let look = async || {
        status(edge).await;
        health(edge, addr).await
    };
    eventually("an ejection", look, is_ejected).await;
}

/// Waits for the line of the log that says so.
async fn ejected_for(edge: &Edge, addr: SocketAddr, time: &str) {
    let (endpoint, time) = (format!("endpoint={addr} "), format!("time={time} "));
    let is_line = |line: &str| {
        let parts = ["endpoint ejected", &endpoint, &time];
        parts.iter().all(|part| line.contains(part))
    };
    edge.proxy.stderr.line("an ejection", is_line).await;
}

#[tokio::test]
async fn one_of_ten_that_fails_is_ejected_comes_back_and_is_ejected_for_longer() {
    let mut moods = Vec::new();
    for _ in 0..10 {
        moods.push(Mood::start().await);
    }
    let service = moods.iter().fold(Service::new(HOST), |service, mood| {
        service.at(mood.origin.addr())
    });
    let detection = "consecutive5xxErrors: 2, interval: 1h, baseEjectionTime: 3s";
    let edge = Edge::start(&documents(&service, detection)).await;
    let (bad, addr) = (&moods[0], moods[0].origin.addr());

    bad.answers(500);
    ask_until_ejected(&edge, addr).await;
    ejected_for(&edge, addr, "3s").await;
    // From now on it would do, but it is left alone.
    bad.answers(200);
    let asked = bad.origin.requests();
    for _ in 0..20 {
        assert_eq!(status(&edge).await, 200);
    }
    if is_ejected(&health(&edge, addr).await) {
        assert_eq!(bad.origin.requests(), asked);
    }

    // One of ten is all that 10 % allow.
    moods[1].answers(500);
    moods[2].answers(500);
    let prevented = async || {
        for _ in 0..10 {
            status(&edge).await;
        }
        let ejected = endpoints(&edge).await;
        let ejected = ejected.iter().filter(|it| is_ejected(&it["health"]));
        assert!(ejected.count() <= 1);
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_outlier_ejections_prevented_total", &[])
    };
    eventually("a prevented ejection", prevented, |count| *count >= 2.0).await;
    moods[1].answers(200);
    moods[2].answers(200);

    let look = || health(&edge, addr);
    eventually("its return", look, |health| health["available"] == true).await;
    bad.answers(500);
    ask_until_ejected(&edge, addr).await;
    ejected_for(&edge, addr, "6s").await;
    assert_eq!(health(&edge, addr).await["ejections"], 2);
}

#[tokio::test]
async fn two_errors_in_a_row_eject_even_the_only_endpoint_for_three_minutes() {
    let mood = Mood::start().await;
    let addr = mood.origin.addr();
    let service = Service::new(HOST).at(addr);
    let detection =
        "consecutiveErrors: 2, interval: 2s, baseEjectionTime: 3m, maxEjectionPercent: 100";
    let edge = Edge::start(&documents(&service, detection)).await;
    mood.answers(500);

    assert_eq!(status(&edge).await, 500);
    assert!(health(&edge, addr).await["ejected"].is_null());
    assert_eq!(status(&edge).await, 500);
    mood.answers(200);
    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-meshproxy-error"), "no_healthy_upstream");
    assert_eq!(mood.origin.requests(), 2, "it was not asked again");
    let health = health(&edge, addr).await;
    let left = health["ejected"]["secondsLeft"].as_f64().expect("a time");
    assert!(left > 120.0 && left <= 180.0, "{left} s");
    assert_eq!(health["ejected"]["cause"], "consecutive_5xx");
    let metrics = edge.proxy.metrics().await;
    let labels = [("host", HOST), ("cause", "consecutive_5xx")];
    assert_eq!(
        metrics.sum("meshproxy_outlier_ejections_total", &labels),
        1.0
    );
    assert_eq!(metrics.sum("meshproxy_outlier_ejected", &labels[..1]), 1.0);
    let flags = [("response_flags", "UH"), ("response_code", "503")];
    edge.proxy.counts("istio_requests_total", &flags, 1.0).await;
    ejected_for(&edge, addr, "180s").await;
}

#[tokio::test]
async fn an_ejection_outlives_a_reload_unless_there_is_no_detection_any_more() {
    let (mood, other) = (Mood::start().await, Origin::named("other").await);
    let addr = mood.origin.addr();
    let one = Service::new(HOST).at(addr);
    let detection = "consecutive5xxErrors: 1, maxEjectionPercent: 100";
    let edge = Edge::start(&documents(&one, detection)).await;
    mood.answers(500);
    status(&edge).await;
    mood.answers(200);
    assert_eq!(status(&edge).await, 503);

    let two = one.clone().at(other.addr());
    edge.apply(&documents(&two, detection)).await;
    for _ in 0..4 {
        assert_eq!(edge.http1().await.get(HOST, "/").await.text(), "other");
    }
    assert!(is_ejected(&health(&edge, addr).await));

    edge.apply(&documents(&one, "")).await;
    let look = || health(&edge, addr);
    eventually("its return", look, |health| health["available"] == true).await;
    assert_eq!(status(&edge).await, 200);
    let metrics = edge.proxy.metrics().await;
    assert_eq!(metrics.samples("meshproxy_outlier_ejected", &[]).count(), 0);
}

#[tokio::test]
async fn an_endpoint_that_fails_much_more_often_than_the_others_is_ejected() {
    let mut moods = Vec::new();
    for _ in 0..3 {
        moods.push(Mood::start().await);
    }
    let service = moods.iter().fold(Service::new(HOST), |service, mood| {
        service.at(mood.origin.addr())
    });
    let rate = "meshproxy.io/outlier-success-rate: 'stdev=1;hosts=3;requests=3'";
    let detection = "consecutive5xxErrors: 0, interval: 500ms, maxEjectionPercent: 100";
    let [service, _, routes] = documents(&service, "");
    let edge = Edge::start(&[service, rule(detection, rate), routes]).await;
    moods[1].answers(500);

    let addr = moods[1].origin.addr();
    let look = async || {
        let mut client = edge.http1().await;
        for _ in 0..30 {
            client.get(HOST, "/").await;
        }
        health(&edge, addr).await
    };
    let health = eventually("an ejection", look, is_ejected).await;

    assert_eq!(health["ejected"]["cause"], "success_rate");
    let ejected = endpoints(&edge).await;
    let ejected = ejected.iter().filter(|it| is_ejected(&it["health"]));
    assert_eq!(ejected.count(), 1, "the others are as they should be");
}
