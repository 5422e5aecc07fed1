//! From zone to zone as endpoints fail, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use tests::origin::{Protocol, text};
use tests::{Edge, Origin, eventually};

use super::{HOST, documents};

const POLICY: &str = "{outlierDetection: {consecutive5xxErrors: 1, interval: 1h, \
                      baseEjectionTime: 1s, maxEjectionPercent: 100}, loadBalancer: \
                      {localityLbSetting: {failover: [{from: us, to: asia}]}}}";
/// Places of the endpoints; the proxy is at the first.
const PLACES: [&str; 4] = [
    "locality: us/a/1",
    "locality: us/b/1",
    "locality: eu/a/1",
    "locality: asia/a/1",
];

/// An endpoint that fails while it is told to.
struct Endpoint {
    origin: Origin,
    fails: Arc<AtomicBool>,
}

// === impl Endpoint ===

impl Endpoint {
    async fn start(name: &'static str) -> Self {
        let fails = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&fails);
        let origin = Origin::serving(Protocol::Http1, move |_| {
            let mut answer = text(name);
            if told.load(Ordering::Relaxed) {
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            async { answer }
        });
        Self {
            origin: origin.await,
            fails,
        }
    }
}

#[tokio::test]
async fn the_local_zone_is_used_until_it_fails_then_the_declared_order_and_back() {
    let mut endpoints = Vec::new();
    for name in ["us-a", "us-b", "eu", "asia"] {
        endpoints.push(Endpoint::start(name).await);
    }
    let placed: Vec<_> = endpoints.iter().map(|it| &it.origin).zip(PLACES).collect();
    let arguments = ["--locality", "us/a/1"];
    let edge = Edge::start_with(&documents(&placed, POLICY), &arguments).await;
    let answers_from = async |name: &'static str| {
        let ask = async || {
            let mut client = edge.http1().await;
            let reply = client.get(HOST, "/").await;
            (reply.status, reply.text().to_owned())
        };
        let is_there = |(status, from): &(StatusCode, String)| *status == 200 && from == name;
        eventually(name, ask, is_there).await;
    };
    let fail = |at: usize, fails: bool| endpoints[at].fails.store(fails, Ordering::Relaxed);

    answers_from("us-a").await;
    fail(0, true);
    answers_from("us-b").await;
    fail(1, true);
    answers_from("asia").await;
    fail(3, true);
    answers_from("eu").await;

    fail(3, false);
    answers_from("asia").await;
    fail(1, false);
    answers_from("us-b").await;
    fail(0, false);
    answers_from("us-a").await;
}
