//! Timeouts of rules.

use std::time::{Duration, Instant};

use http::Method;
use tests::client::{Body, request};
use tests::origin::{Protocol, text};
use tests::wait::PATIENCE;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Script};

const IDLE: [&str; 4] = ["--stream-idle-timeout", "400ms", "--access-log", "json"];

const HOST: &str = "slow.test";
const TIMEOUT: Duration = Duration::from_millis(300);
const RULES: &str = "
  - timeout: 300ms
    route: [{destination: {host: slow.test}}]
";

#[tokio::test]
async fn an_origin_that_does_not_answer_costs_no_more_than_the_timeout() {
    let origin = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start_with(
        &[service, yaml::routes(HOST, RULES)],
        &["--access-log", "json"],
    )
    .await;
    let mut client = edge.http1().await;

    let start = Instant::now();
    let reply = client.get(HOST, "/").await;
    let took = start.elapsed();

    assert_eq!(reply.brief(), (504, "upstream request timeout"));
    assert_eq!(reply.header("x-meshproxy-error"), "response_timeout");
    assert!(took >= TIMEOUT && took < PATIENCE / 2, "{took:?}");
    assert_eq!(origin.requests(), 1, "a timeout is not tried again");
    let line = edge
        .proxy
        .stdout
        .line("a line of the log", |line| line.contains("504"))
        .await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    assert_eq!(line["response_flags"], "UT");
    let labels = [("response_code", "504"), ("response_flags", "UT")];
    edge.proxy
        .counts("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn the_connection_to_the_client_outlives_a_timeout() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        match request.uri().path() {
            "/hang" => std::future::pending().await,
            _ => text("quick"),
        }
    })
    .await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
    let mut client = edge.http1().await;

    assert_eq!(client.get(HOST, "/hang").await.status, 504);
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "quick"));
}

#[tokio::test]
async fn an_answer_that_begins_in_time_but_does_not_end_breaks_off() {
    let origin = Script::start(async |mut peer: tests::script::Peer| {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nthe beginning")
            .await;
        peer.request().await;
    })
    .await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
    let mut client = edge.http1().await;

    let response = client.begin(tests::client::get(HOST, "/")).await;
    let response = response.expect("the head comes in time");
    assert_eq!(response.status(), 200);
    let ended = tests::soon("the end", tests::Reply::of(response)).await;

    assert!(
        ended.is_err(),
        "a whole answer cannot be made of a part: {ended:?}"
    );
}

/// An edge without a timeout in its rule, that gives up where nothing passes.
async fn impatient(addr: std::net::SocketAddr) -> Edge {
    let service = Service::new(HOST).at(addr).to_string();
    let rules = "  - route: [{destination: {host: slow.test}}]";
    Edge::start_with(&[service, yaml::routes(HOST, rules)], &IDLE).await
}

/// The flags of the one request in the log.
async fn flags(edge: &Edge) -> String {
    let is_line = |line: &str| line.contains("response_flags");
    let line = edge.proxy.stdout.line("a line of the log", is_line).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
    line["response_flags"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn a_request_in_which_nothing_passes_is_given_up() {
    let origin = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let edge = impatient(origin.addr()).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (504, "stream timeout"));
    assert_eq!(reply.header("x-meshproxy-error"), "stream_idle_timeout");
    assert_eq!(flags(&edge).await, "SI");
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_told_so() {
    let origin = Origin::named("patient").await;
    let edge = impatient(origin.addr()).await;
    // Held open for as long as the test runs.
    let (_sender, body) = http_body_util::channel::Channel::new(1);
    let body: Body = http_body_util::BodyExt::boxed(body);
    let post = request(Method::POST, HOST, "/", &[("content-length", "10")], body);

    let response = edge.http1().await.begin(post).await.expect("an answer");

    assert_eq!(response.status(), 408);
    let error = &response.headers()["x-meshproxy-error"];
    assert_eq!(error, "request_idle_timeout");
    assert_eq!(flags(&edge).await, "SI");
}

#[tokio::test]
async fn an_answer_that_stops_on_its_way_breaks_off() {
    let origin = Script::start(async |mut peer: tests::script::Peer| {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nthe beginning")
            .await;
        peer.request().await;
    })
    .await;
    let edge = impatient(origin.addr()).await;
    let mut client = edge.http1().await;

    let response = client.begin(tests::client::get(HOST, "/")).await;
    let response = response.expect("the head comes in time");
    let ended = tests::soon("the end", tests::Reply::of(response)).await;

    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(flags(&edge).await, "SI");
}
