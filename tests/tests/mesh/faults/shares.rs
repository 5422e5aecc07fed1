//! How many requests meet a fault, and when they are answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use tests::client::get;
use tests::origin::{Protocol, text};
use tests::yaml::Service;
use tests::{Http1, Origin, Port, Proxy};
use tokio::task::JoinSet;

const HOST: &str = "ratings.default.svc.cluster.local";
/// As somebody who tests his services writes it.
const FAULTS: &str = "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
  - match: [{headers: {end-user: {exact: bar}}}]
    fault: {delay: {percent: 40, fixedDelay: 5s}}
    timeout: 2s
    route: [{destination: {host: ratings}}]
  - match: [{headers: {end-user: {exact: foo}}}]
    fault: {abort: {percent: 20, httpStatus: 500}}
    route: [{destination: {host: ratings}}]
  - route: [{destination: {host: ratings}}]
    timeout: 4s
";
/// Requests of `bar`, all at once.
const DELAYED: usize = 400;
/// Requests of `foo` over each of some connections.
const ABORTED: usize = 100;
const CONNECTIONS: usize = 10;
/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_millis(2_900);

/// Asks `path` as `user` on a connection of its own; the status, and after how long.
async fn ask(addr: SocketAddr, user: &'static str, path: &'static str) -> (StatusCode, Duration) {
    let mut client = Http1::connect(addr).await;
    let start = Instant::now();
    let reply = client.get_with(HOST, path, &[("end-user", user)]).await;
    (reply.status, start.elapsed())
}

/// Whether `count` of `of` draws is what a `share` makes likely: within six standard deviations.
fn is_likely(count: usize, of: usize, share: f64) -> bool {
    let mean = of as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    (count as f64 - mean).abs() <= 6.0 * deviation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_4_delays_come_before_the_timeout_and_errors_instead_of_the_service() {
    let origin = Origin::serving(Protocol::Http1, |request| async move {
        match request.uri().path() {
            "/hang" => std::future::pending().await,
            _ => text("stars"),
        }
    })
    .await;
    let port = Port::reserve();
    let yaml = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: productpage}}
spec:
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
{}{FAULTS}",
        Service::new(HOST).at(origin.addr())
    );
    let proxy = Proxy::start(&yaml).await;
    let addr = port.addr();

    let mut bars = JoinSet::new();
    (0..DELAYED).for_each(|_| drop(bars.spawn(ask(addr, "bar", "/hang"))));
    let mut foos = JoinSet::new();
    for _ in 0..CONNECTIONS {
        foos.spawn(async move {
            let mut client = Http1::connect(addr).await;
            let mut failed = 0;
            for _ in 0..ABORTED {
                let user = [("end-user", "foo")];
                let reply = client.get_with(HOST, "/", &user).await;
                assert!([200, 500].contains(&reply.status.as_u16()));
                failed += usize::from(reply.status == 500);
            }
            failed
        });
    }
    let other = ask(addr, "other", "/hang").await;
    let failed: usize = foos.join_all().await.into_iter().sum();
    let bars = bars.join_all().await;

    let after = |seconds: u64, took: Duration| {
        let due = Duration::from_secs(seconds);
        took >= due && took < due + SLACK
    };
    assert!(bars.iter().all(|(status, _)| *status == 504), "{bars:?}");
    let delayed = bars.iter().filter(|(_, took)| after(7, *took)).count();
    let prompt = bars.iter().filter(|(_, took)| after(2, *took)).count();
    assert_eq!(
        delayed + prompt,
        DELAYED,
        "after 7 s or after 2 s: {bars:?}"
    );
    assert!(
        is_likely(delayed, DELAYED, 0.4),
        "{delayed} of {DELAYED} delayed"
    );
    let foos = CONNECTIONS * ABORTED;
    assert!(is_likely(failed, foos, 0.2), "{failed} of {foos} failed");
    assert_eq!(other.0, 504);
    assert!(after(4, other.1), "{other:?}");
    let metrics = proxy.metrics().await;
    let late = metrics.sum("istio_requests_total", &[("response_flags", "DI,UT")]);
    assert_eq!(late, delayed as f64);
    let faults = |kind| metrics.sum("meshproxy_faults_total", &[("kind", kind)]);
    assert_eq!(
        (faults("delay"), faults("abort")),
        (delayed as f64, failed as f64)
    );
}

#[tokio::test]
async fn without_a_share_nobody_meets_a_fault() {
    let origin = Origin::named("app").await;
    let rules = "
  - match: [{uri: {prefix: /empty}}]
    fault: {abort: {httpStatus: 500, percentage: {}}}
    route: [{destination: {host: ratings.test}}]
  - fault: {abort: {httpStatus: 500}, delay: {fixedDelay: 1h}}
    route: [{destination: {host: ratings.test}}]
";
    let edge = super::edge(origin.addr(), &[], rules).await;
    let mut client = edge.http1().await;

    for path in ["/empty", "/absent"] {
        for _ in 0..50 {
            let reply = client.send(get(super::HOST, path)).await;
            assert_eq!(reply.brief(), (200, "app"), "{path}");
        }
    }
}
