//! Faults of attempts: timeouts and retries meet them like those of an upstream.

use std::time::{Duration, Instant};

use tests::client::get;
use tests::wait::PATIENCE;
use tests::{Edge, Origin};

use super::{HOST, counted, edge, logged};

const ATTEMPT: (&str, &str) = ("fault-scope", "attempt");
const REQUESTS: usize = 400;

/// Retries that were made.
async fn retries(edge: &Edge) -> f64 {
    let metrics = edge.proxy.metrics().await;
    metrics.sum("meshproxy_retries_total", &[])
}

#[tokio::test]
async fn retries_hide_most_injected_errors() {
    let origin = Origin::named("app").await;
    let rules = "
  - fault: {abort: {httpStatus: 503, percentage: {value: 50}}}
    retries: {attempts: 5, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: ratings.test}}]
";
    let budget = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings.test
  trafficPolicy: {connectionPool: {http: {maxRetries: 1000}}}
";
    let edge = edge(origin.addr(), &[ATTEMPT], rules).await;
    let yaml = std::fs::read_to_string(edge.proxy.config()).expect("our own file");
    edge.proxy.apply(&(yaml + budget)).await;
    let mut client = edge.http1().await;

    let mut failed = 0;
    for _ in 0..REQUESTS {
        let reply = client.get(HOST, "/").await;
        match reply.status.as_u16() {
            200 => assert_eq!(reply.text(), "app"),
            503 => {
                failed += 1;
                assert_eq!(reply.header("x-meshproxy-error"), "fault_filter_abort");
            }
            status => panic!("{status}"),
        }
    }

    // One of 64 is left, six standard deviations are 15; without retries it were half of them.
    assert!(failed <= REQUESTS / 64 + 15, "{failed} of {REQUESTS}");
    assert_eq!(origin.requests(), REQUESTS - failed, "an error is not sent");
    let aborts = counted(&edge, "abort").await;
    assert_eq!(aborts, retries(&edge).await + failed as f64);
    let metrics = edge.proxy.metrics().await;
    let marked = metrics.sum("istio_requests_total", &[("response_flags", "FI,URX")]);
    assert_eq!(
        marked, failed as f64,
        "whose last attempt went well has no flag"
    );
}

#[tokio::test]
async fn a_delay_counts_in_the_time_of_its_attempt() {
    let origin = Origin::named("app").await;
    let rules = "
  - match: [{uri: {prefix: /try}}]
    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    retries: {attempts: 1, retryOn: 5xx, perTryTimeout: 50ms, backoff: 1ms}
    route: [{destination: {host: ratings.test}}]
  - fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    timeout: 100ms
    route: [{destination: {host: ratings.test}}]
";
    let edge = edge(origin.addr(), &[ATTEMPT], rules).await;
    let start = Instant::now();

    let tried = edge.http1().await.get(HOST, "/try").await;
    let whole = edge.http2().await.get(HOST, "/whole").await;

    assert_eq!(tried.status, 504);
    assert_eq!(
        tried.header("x-meshproxy-error"),
        "upstream_per_try_timeout"
    );
    assert_eq!(logged(&edge).await["response_flags"], "DI,URX,UT");
    assert_eq!(whole.header("x-meshproxy-error"), "response_timeout");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(counted(&edge, "delay").await, 3.0);
    assert_eq!(origin.requests(), 0);
    let active = edge.proxy.metrics().await;
    assert_eq!(active.sum("meshproxy_fault_delays_active", &[]), 0.0);
}

#[tokio::test]
async fn a_reset_is_one_of_the_upstream_before_its_answer() {
    let origin = Origin::named("app").await;
    let rules = "
  - retries: {attempts: 2, retryOn: reset, backoff: 1ms}
    route: [{destination: {host: ratings.test}}]
";
    let annotations = [ATTEMPT, ("fault-reset", "100%")];
    let edge = edge(origin.addr(), &annotations, rules).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-meshproxy-error"), "fault_reset");
    assert_eq!(logged(&edge).await["response_flags"], "FI,URX");
    assert_eq!(counted(&edge, "reset").await, 3.0);
    assert_eq!(retries(&edge).await, 2.0);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_slow_body_is_slow_for_each_attempt() {
    let origin = Origin::named("seventeen letters").await;
    let rules = "
  - route: [{destination: {host: ratings.test}}]
";
    let annotations = [ATTEMPT, ("fault-slow-body", "100%; rate=40B/s")];
    let edge = edge(origin.addr(), &annotations, rules).await;
    let start = Instant::now();

    let reply = edge.http2().await.send(get(HOST, "/")).await;

    assert_eq!(reply.text(), "seventeen letters");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert_eq!(logged(&edge).await["response_flags"], "DI");
}
