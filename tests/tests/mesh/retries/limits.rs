//! What keeps retries within bounds: attempts' own time, budgets, and what upstreams ask for.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, eventually, soon};

const HOST: &str = "limits.test";

fn policy(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: limits}}
spec:
  host: {HOST}
  trafficPolicy: {{{policy}}}
---
"
    )
}

fn rule(retries: &str) -> String {
    let rule =
        format!("  - retries: {{{retries}}}\n    route: [{{destination: {{host: {HOST}}}}}]\n");
    yaml::routes(HOST, &rule)
}

async fn edge(origin: &Origin, documents: &[String]) -> Edge {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let documents = [&[service], documents].concat();
    Edge::start_with(&documents, &["--access-log", "json"]).await
}

/// Answers 503 to all but the third request.
async fn better_at_the_third() -> Origin {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    Origin::serving(Protocol::Http1, move |_| {
        let number = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let mut response = text("fine");
            if number != 2 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        }
    })
    .await
}

/// Answers 503 with a `Retry-After`, and then 200.
async fn asking_for(retry_after: &'static str) -> Origin {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    Origin::serving(Protocol::Http1, move |_| {
        let number = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let mut response = text("fine");
            if number == 0 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                let headers = response.headers_mut();
                headers.insert("retry-after", retry_after.parse().expect("a value"));
            }
            response
        }
    })
    .await
}

#[tokio::test]
async fn each_attempt_has_its_own_time_and_says_which_it_is() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        match request.headers()["x-envoy-attempt-count"].to_str() {
            Ok("3") => text("third"),
            _ => std::future::pending().await,
        }
    })
    .await;
    let retries = "attempts: 2, perTryTimeout: 150ms, retryOn: reset, backoff: 1ms";
    let edge = edge(&origin, &[rule(retries)]).await;
    let start = Instant::now();

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "third"));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(origin.requests(), 3);
    let metrics = edge.proxy.metrics().await;
    let cause = [("cause", "per-try-timeout")];
    assert_eq!(metrics.sum("meshproxy_retries_total", &cause), 2.0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_not_repeated_unless_the_rule_says_so() {
    let origin = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let edge = edge(&origin, &[rule("attempts: 2, perTryTimeout: 150ms")]).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (504, "upstream request timeout"));
    assert_eq!(
        reply.header("x-meshproxy-error"),
        "upstream_per_try_timeout"
    );
    assert_eq!(origin.requests(), 1);
    let flags = [("response_flags", "UT")];
    edge.proxy.counts("istio_requests_total", &flags, 1.0).await;
}

#[tokio::test]
async fn the_rules_timeout_covers_all_attempts() {
    let origin = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let rule = yaml::routes(
        HOST,
        &format!(
            "  - timeout: 500ms
    retries: {{attempts: 50, perTryTimeout: 150ms, retryOn: 5xx, backoff: 1ms}}
    route: [{{destination: {{host: {HOST}}}}}]\n"
        ),
    );
    let edge = edge(&origin, &[rule]).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.header("x-meshproxy-error"), "response_timeout");
    let line = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("504"))
        .await;
    let line: Value = serde_json::from_str(&line).expect("lines are JSON");
    let attempts = line["attempts"].as_u64().expect("a number");
    assert!((2..=4).contains(&attempts), "{attempts}");
    let seen = origin.requests() as u64;
    // The last one may have ended before the origin had read it.
    assert!((attempts - 1..=attempts).contains(&seen), "{seen}");
    assert_eq!(line["upstream_host"], origin.addr().to_string());
}

#[tokio::test]
async fn what_an_upstream_asks_for_is_waited_out_if_it_fits() {
    let origin = asking_for("1").await;
    let edge = edge(&origin, &[rule("attempts: 2, retryOn: 5xx")]).await;
    let start = Instant::now();

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "fine"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_asks_for_a_longer_wait_is_handed_on() {
    for retry_after in ["3600", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let origin = asking_for(retry_after).await;
        let edge = edge(&origin, &[rule("attempts: 2, retryOn: 5xx")]).await;

        let reply = edge.http1().await.get(HOST, "/").await;

        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), retry_after);
        assert_eq!(origin.requests(), 1);
        let metrics = edge.proxy.metrics().await;
        let cause = [("cause", "retry-after")];
        assert_eq!(metrics.sum("meshproxy_retries_refused_total", &cause), 1.0);
    }
}

/// The use of the retry limit of the destination.
async fn use_of_retries(edge: &Edge) -> Value {
    let destinations = edge.proxy.admin("/destinations").await;
    let list = destinations.as_array().expect("a list");
    let of_host = list.iter().find(|it| it["host"] == HOST);
    of_host.expect("the destination")["retries"].clone()
}

#[tokio::test]
async fn no_more_retries_than_the_destination_allows_are_under_way() {
    for limit in [
        "connectionPool: {http: {maxRetries: 1}}",
        "retryBudget: {percent: 0, minRetryConcurrency: 1}",
        "retryBudget: {percent: 0, minRetryConcurrency: 1, budgetInterval: 10s}",
    ] {
        // The first attempt fails at once, the second one hangs and so keeps its place.
        let origin = Origin::serving(Protocol::Http1, |request| async move {
            match request.headers()["x-envoy-attempt-count"].to_str() {
                Ok("1") => {
                    let mut response = text("busy");
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    response
                }
                _ => std::future::pending().await,
            }
        })
        .await;
        let documents = [
            rule("attempts: 2, retryOn: 5xx, backoff: 1ms"),
            policy(limit),
        ];
        let edge = edge(&origin, &documents).await;
        let mut holding = edge.http1().await;
        let held = tokio::spawn(async move { holding.get(HOST, "/held").await });
        eventually(
            "a retry under way",
            || use_of_retries(&edge),
            |retries| retries["active"] == 1,
        )
        .await;

        let reply = edge.http1().await.get(HOST, "/over").await;

        assert_eq!(reply.brief(), (503, "busy"), "{limit}");
        let line = edge
            .proxy
            .stdout
            .line("a line", |line| line.contains("/over"))
            .await;
        let line: Value = serde_json::from_str(&line).expect("lines are JSON");
        assert_eq!(
            (&line["response_flags"], &line["attempts"]),
            (&"UO".into(), &1.into())
        );
        assert_eq!(use_of_retries(&edge).await["refused"], 1);
        // The count outlives a reload.
        edge.apply(&[
            Service::new(HOST).at(origin.addr()).to_string(),
            rule("attempts: 3, retryOn: 5xx"),
            policy(limit),
        ])
        .await;
        assert_eq!(use_of_retries(&edge).await["active"], 1, "{limit}");
        held.abort();
        let _ = soon("the end of the client", held).await;
        eventually(
            "no retry under way",
            || use_of_retries(&edge),
            |retries| retries["active"] == 0,
        )
        .await;
    }
}

#[tokio::test]
async fn a_retry_that_helps_leaves_no_flag() {
    let origin = better_at_the_third().await;
    let edge = edge(
        &origin,
        &[rule("attempts: 2, retryOn: '503', backoff: 1ms")],
    )
    .await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "fine"));
    let line = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("200"))
        .await;
    let line: Value = serde_json::from_str(&line).expect("lines are JSON");
    assert_eq!(
        (&line["response_flags"], &line["attempts"]),
        (&"-".into(), &3.into())
    );
}

#[tokio::test]
async fn later_attempts_go_to_other_localities_if_asked() {
    let near = [busy().await, busy().await, busy().await];
    let far = Origin::named("far").await;
    let service = near.iter().fold(Service::new(HOST), |service, origin| {
        service.endpoint(origin.addr(), "locality: r/near, weight: 1000000")
    });
    let service = service.endpoint(far.addr(), "locality: r/far, weight: 1");
    let retries = "attempts: 2, retryOn: 5xx, backoff: 1ms, retryRemoteLocalities: true";
    let documents = [
        service.to_string(),
        rule(retries),
        policy("loadBalancer: {simple: RANDOM}"),
    ];
    let edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;

    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "far"));
    }
}

/// Answers 503 to every request.
async fn busy() -> Origin {
    Origin::serving(Protocol::Http1, |_| async {
        let mut response = text("busy");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await
}
