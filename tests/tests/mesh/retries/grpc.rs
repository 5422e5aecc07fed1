//! Calls of gRPC: what is repeated, and when their time is over.

use http::Method;
use tests::client::{full, request};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Reply};

use super::frames::{Fate, Frames};

const HOST: &str = "calls.test";
const RULES: &str = "
  - match: [{uri: {prefix: /unavailable.}}]
    retries: {attempts: 2, backoff: 1ms, retryOn: 'unavailable,internal'}
    route: [{destination: {host: calls.test}}]
  - match: [{uri: {prefix: /limited.}}]
    timeout: 300ms
    route: [{destination: {host: calls.test}}]
  - route: [{destination: {host: calls.test}}]
";

async fn edge(server: &Frames) -> Edge {
    let service = Service::new(HOST).protocol("GRPC").at(server.addr);
    Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await
}

async fn call(edge: &Edge, service: &str, more: &[(&str, &str)]) -> Reply {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let headers = [&headers[..], more].concat();
    let path = format!("/{service}/Method");
    let call = request(Method::POST, HOST, &path, &headers, full("message"));
    edge.http2().await.send(call).await
}

#[tokio::test]
async fn a_status_in_the_head_of_an_answer_is_repeated_where_the_rule_names_it() {
    for (said, service, calls) in [
        ("14", "unavailable.S", 2),
        ("13", "unavailable.S", 2),
        ("4", "unavailable.S", 1),
        ("14", "other.S", 1),
    ] {
        let fates: &'static [Fate] = match said {
            "14" => &[Fate::Status("14"), Fate::Status("0")],
            "13" => &[Fate::Status("13"), Fate::Status("0")],
            _ => &[Fate::Status("4"), Fate::Status("0")],
        };
        let server = Frames::start(fates).await;
        let edge = edge(&server).await;

        let reply = call(&edge, service, &[]).await;

        let expected = if calls == 2 { "0" } else { said };
        assert_eq!(reply.header("grpc-status"), expected, "{service} {said}");
        assert_eq!(server.bodies(), vec![b"message".to_vec(); calls]);
    }
}

#[tokio::test]
async fn the_callers_deadline_ends_a_call_with_the_status_that_says_so() {
    let server = Frames::start(&[Fate::Ignored]).await;
    let edge = edge(&server).await;

    let reply = call(&edge, "other.S", &[("grpc-timeout", "200m")]).await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("grpc-status"), "4");
    assert_eq!(reply.header("x-meshproxy-error"), "deadline_exceeded");
    let labels = [("response_flags", "UT"), ("grpc_response_status", "4")];
    edge.proxy
        .counts("istio_requests_total", &labels, 1.0)
        .await;
    assert_eq!(server.bodies().len(), 1);
}

#[tokio::test]
async fn the_rules_timeout_caps_the_callers_deadline() {
    let server = Frames::start(&[Fate::Ignored]).await;
    let edge = edge(&server).await;

    let reply = call(&edge, "limited.S", &[("grpc-timeout", "1H")]).await;

    assert_eq!(reply.header("grpc-status"), "14");
    assert_eq!(reply.header("x-meshproxy-error"), "response_timeout");
}

#[tokio::test]
async fn the_upstream_learns_how_long_the_caller_still_waits() {
    let origin = Origin::named("app").await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;

    call(&edge, "other.S", &[("grpc-timeout", "20S")]).await;

    let seen = origin.last();
    let left = seen.header("grpc-timeout").strip_suffix('u');
    let left: u32 = left.expect("microseconds").parse().expect("a number");
    assert!(left > 0 && left < 20_000_000, "{left}");
    call(&edge, "other.S", &[]).await;
    assert_eq!(origin.last().header("grpc-timeout"), "");
}
