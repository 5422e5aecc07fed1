//! Faults that are injected into requests; in `attempts` those below the retries.

mod attempts;
mod resets;
mod shares;

use std::net::SocketAddr;

use http::Method;
use serde_json::Value;
use tests::client::{empty, full, request};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, eventually};

const HOST: &str = "ratings.test";

/// An edge in front of `origin`, whose `VirtualService` has these annotations and rules.
async fn edge(origin: SocketAddr, annotations: &[(&str, &str)], rules: &str) -> Edge {
    let mut lines = String::new();
    for (name, value) in annotations {
        lines.push_str(&format!("meshproxy.io/{name}: '{value}', "));
    }
    let annotated = format!("metadata: {{annotations: {{{lines}}}, name: ");
    let routes = yaml::routes(HOST, rules).replace("metadata: {name: ", &annotated);
    let service = Service::new(HOST).at(origin).to_string();
    Edge::start_with(&[service, routes], &["--access-log", "json"]).await
}

/// The first line of the access log.
async fn logged(edge: &Edge) -> Value {
    let is_line = |line: &str| line.contains("response_flags");
    let line = edge.proxy.stdout.line("a line of the log", is_line).await;
    serde_json::from_str(&line).expect("lines are JSON")
}

/// Faults of a kind that were counted.
async fn counted(edge: &Edge, kind: &str) -> f64 {
    let metrics = edge.proxy.metrics().await;
    metrics.sum("meshproxy_faults_total", &[("kind", kind)])
}

#[tokio::test]
async fn an_injected_error_is_marked_and_gets_the_headers_of_its_rule() {
    let origin = Origin::named("app").await;
    let rules = "
  - fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    headers: {response: {set: {x-case: a}}}
    corsPolicy: {allowOrigins: [{exact: 'http://page.test'}]}
    retries: {attempts: 3, retryOn: '5xx,418'}
    route: [{destination: {host: ratings.test}}]
";
    let edge = edge(origin.addr(), &[], rules).await;
    let mut client = edge.http1().await;

    let page = [("origin", "http://page.test")];
    let reply = client.get_with(HOST, "/", &page).await;

    assert_eq!(reply.brief(), (418, "fault filter abort"));
    assert_eq!(reply.header("content-type"), "text/plain");
    assert_eq!(reply.header("content-length"), "18");
    assert_eq!(reply.header("x-meshproxy-error"), "fault_filter_abort");
    assert_eq!(reply.header("x-case"), "a");
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "",
        "faults come before CORS"
    );
    let head = client
        .send(request(Method::HEAD, HOST, "/", &[], empty()))
        .await;
    assert_eq!(
        (head.brief(), head.header("content-length")),
        ((418, ""), "18")
    );
    assert_eq!(origin.requests(), 0, "neither sent nor retried");
    let line = logged(&edge).await;
    assert_eq!(line["response_flags"], "FI");
    assert_eq!(line["response_code_details"], "fault_filter_abort");
    assert_eq!(counted(&edge, "abort").await, 2.0);
    let labels = [("destination_service", HOST), ("response_flags", "FI")];
    edge.proxy
        .counts("istio_requests_total", &labels, 2.0)
        .await;
}

#[tokio::test]
async fn callers_of_grpc_get_a_status_of_grpc() {
    let origin = Origin::named("app").await;
    let rules = "
  - match: [{uri: {prefix: /http}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: ratings.test}}]
  - fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}
    route: [{destination: {host: ratings.test}}]
";
    let edge = edge(origin.addr(), &[], rules).await;
    let mut client = edge.http2().await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];

    for (path, headers, status, body, grpc_status) in [
        ("/http.S/M", &grpc[..], 200, "", "14"),
        ("/grpc.S/M", &grpc[..], 200, "", "5"),
        ("/http", &[][..], 503, "fault filter abort", ""),
        ("/grpc", &[][..], 200, "fault filter abort", ""),
    ] {
        let call = request(Method::POST, HOST, path, headers, full("message"));
        let reply = client.send(call).await;

        assert_eq!(reply.brief(), (status, body), "{path}");
        assert_eq!(reply.header("grpc-status"), grpc_status, "{path}");
        if !headers.is_empty() {
            assert_eq!(reply.header("grpc-message"), "fault filter abort");
            assert_eq!(reply.header("content-type"), "application/grpc");
        }
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_delay_ends_it() {
    let origin = Origin::named("app").await;
    let rules = "
  - fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    route: [{destination: {host: ratings.test}}]
";
    let edge = edge(origin.addr(), &[], rules).await;
    let waiting = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_fault_delays_active", &[])
    };

    let (mut first, mut second) = (edge.http1().await, edge.http2().await);
    let asks = [
        tokio::spawn(async move { first.try_send(tests::client::get(HOST, "/")).await.is_ok() }),
        tokio::spawn(async move { second.begin(tests::client::get(HOST, "/")).await.is_ok() }),
    ];
    eventually("two delays", waiting, |count| *count == 2.0).await;
    // Another request passes them, and nobody waits at the upstream.
    assert_eq!(edge.proxy.ready().await, 200);
    for ask in &asks {
        ask.abort();
    }
    eventually("no delay", waiting, |count| *count == 0.0).await;

    assert_eq!(
        origin.connections(),
        0,
        "a delay holds nothing of the upstream"
    );
    assert_eq!(logged(&edge).await["response_flags"], "DI,DC");
    assert_eq!(counted(&edge, "delay").await, 2.0);
}

#[tokio::test]
async fn an_injected_error_is_counted_where_a_sticky_split_would_have_sent_the_request() {
    let origin = Origin::named("app").await;
    let rules = "
  - fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route:
    - {destination: {host: ratings.test}, weight: 1}
    - {destination: {host: other.test}, weight: 1}
";
    let sticky =
        "metadata: {annotations: {meshproxy.io/sticky-by: 'header:x-forwarded-for'}, name: ";
    let documents = [
        Service::new(HOST).at(origin.addr()).to_string(),
        Service::new("other.test").at(origin.addr()).to_string(),
        yaml::routes(HOST, rules).replace("metadata: {name: ", sticky),
    ];
    let edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;

    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 503);
    }

    // Of one caller, which the gateway itself writes into the header.
    let look = async || {
        let metrics = edge.proxy.metrics().await;
        let to = |host| {
            let host = [("destination_service", host)];
            metrics.sum("istio_requests_total", &host)
        };
        [to(HOST), to("other.test")]
    };
    let mut counted = eventually("requests", look, |it| it[0] + it[1] == 20.0).await;
    counted.sort_by(f64::total_cmp);
    assert_eq!(counted, [0.0, 20.0]);
}
