//! Limits of connections and requests: exact over workers, refused at once, and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Http2, Origin, eventually, soon};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const HOST: &str = "reviews.default.svc.cluster.local";

/// An origin that answers when it is let, and counts what it has at once.
struct Gated {
    origin: Origin,
    state: Arc<State>,
}

struct State {
    gate: Semaphore,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A request that the origin has.
struct Counted(Arc<State>);

impl Gated {
    async fn new(protocol: Protocol) -> Self {
        let state = Arc::new(State {
            gate: Semaphore::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let handler = Arc::clone(&state);
        let origin = Origin::serving(protocol, move |_| {
            let counted = Counted::new(&handler);
            async move {
                if let Ok(permit) = counted.0.gate.acquire().await {
                    permit.forget();
                }
                text("done")
            }
        })
        .await;
        Self { origin, state }
    }

    fn let_go(&self, requests: usize) {
        self.state.gate.add_permits(requests);
    }

    async fn has(&self, requests: usize) {
        let now = || async { self.state.now.load(Ordering::SeqCst) };
        eventually("requests at the origin", now, |now| *now == requests).await;
    }
}

impl Counted {
    fn new(state: &Arc<State>) -> Self {
        let now = state.now.fetch_add(1, Ordering::SeqCst) + 1;
        state.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn pool(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: reviews}}
spec:
  host: {HOST}
  trafficPolicy:
    connectionPool: {{{policy}}}
---
"
    )
}

async fn edge(gated: &Gated, protocol: &str, policy: &str, workers: &str) -> Edge {
    let route = format!("  - route: [{{destination: {{host: {HOST}}}}}]\n    timeout: 60s\n");
    let documents = [
        Service::new(HOST)
            .protocol(protocol)
            .at(gated.origin.addr())
            .to_string(),
        yaml::routes(HOST, &route),
        pool(policy),
    ];
    Edge::start_with(&documents, &["--workers", workers]).await
}

async fn breaker(edge: &Edge) -> Value {
    edge.proxy.admin("/destinations").await[0]["breaker"].clone()
}

async fn breaker_is(edge: &Edge, what: &str, accepts: impl Fn(&Value) -> bool) {
    eventually(what, || breaker(edge), accepts).await;
}

/// A request in a task of its own.
fn ask(edge: &Edge) -> impl Future<Output = (u16, String)> + Send + 'static {
    let addr = edge.port.addr();
    async move {
        let reply = Http1::connect(addr).await.get(HOST, "/").await;
        (
            reply.status.as_u16(),
            reply.header("x-meshproxy-error").to_owned(),
        )
    }
}

#[tokio::test]
async fn case_4_the_third_concurrent_call_is_refused_at_once() {
    let gated = Gated::new(Protocol::Http1).await;
    let policy = "tcp: {maxConnections: 1}, \
                  http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}";
    let edge = edge(&gated, "HTTP", policy, "2").await;
    let mut calls = JoinSet::new();
    calls.spawn(ask(&edge));
    gated.has(1).await;
    calls.spawn(ask(&edge));
    breaker_is(&edge, "one waits", |it| it["pending"]["waiting"] == 1).await;

    let mut client = edge.http1().await;
    let reply = soon("a refusal", client.get(HOST, "/")).await;

    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.header("x-meshproxy-error"),
        "upstream_pending_overflow"
    );
    assert_eq!(reply.header("x-envoy-overloaded"), "true");
    let metrics = edge.proxy.metrics().await;
    let flags = [("response_flags", "UO")];
    edge.proxy.counts("istio_requests_total", &flags, 1.0).await;
    let labels = [("host", HOST), ("limit", "pending")];
    assert_eq!(
        metrics.sum("meshproxy_destination_overflows_total", &labels),
        1.0
    );
    gated.let_go(2);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("a call ends").0, 200);
    }
    assert_eq!(gated.state.most.load(Ordering::SeqCst), 1);
    breaker_is(&edge, "all is given back", |it| {
        it["connections"]["open"] == 0 && it["pending"]["waiting"] == 0
    })
    .await;
}

/// A thousand callers at once over several workers, against a limit of ten.
async fn a_thousand_callers(protocol: Protocol, name: &str) {
    let gated = Gated::new(protocol).await;
    let edge = edge(&gated, name, "http: {http2MaxRequests: 10}", "3").await;
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        calls.spawn(ask(&edge));
    }
    gated.has(10).await;
    breaker_is(&edge, "the others were refused", |it| {
        it["requests"]["refused"] == 990
    })
    .await;
    gated.let_go(10);

    let mut outcomes = [0, 0];
    while let Some(call) = calls.join_next().await {
        match call.expect("a call ends") {
            (200, _) => outcomes[0] += 1,
            (503, cause) if cause == "upstream_requests_overflow" => outcomes[1] += 1,
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(outcomes, [10, 990]);
    assert_eq!(gated.state.most.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn of_a_thousand_callers_ten_get_through_by_http1() {
    a_thousand_callers(Protocol::Http1, "HTTP").await;
}

#[tokio::test]
async fn of_a_thousand_callers_ten_get_through_by_http2() {
    a_thousand_callers(Protocol::Http2, "HTTP2").await;
}

#[tokio::test]
async fn places_come_back_from_requests_that_were_given_up() {
    let gated = Gated::new(Protocol::Http1).await;
    let policy = "tcp: {maxConnections: 2}, http: {http2MaxRequests: 2}";
    let edge = edge(&gated, "HTTP", policy, "2").await;

    for _ in 0..10 {
        let mut calls = JoinSet::new();
        for _ in 0..6 {
            // Over HTTP/2 it is plain at once that nobody waits for the answer any more.
            let addr = edge.port.addr();
            calls.spawn(async move { Http2::connect(addr).await.get(HOST, "/").await.status });
        }
        gated.has(2).await;
        breaker_is(&edge, "two are served and four wait", |it| {
            it["connections"]["open"] == 2
                && it["requests"]["active"] == 2
                && it["pending"]["waiting"] == 4
        })
        .await;
        calls.shutdown().await;
        gated.has(0).await;
    }

    breaker_is(&edge, "all is given back", |it| {
        it["connections"]["open"] == 0
            && it["pending"]["waiting"] == 0
            && it["requests"]["active"] == 0
    })
    .await;
    gated.let_go(1);
    assert_eq!(ask(&edge).await.0, 200);
}

/// Many callers share few connections, whichever worker they meet.
async fn few_connections_serve_all(protocol: Protocol, name: &str) {
    let origin = Origin::serving(protocol, |_| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        text("done")
    })
    .await;
    let gated = Gated {
        origin,
        state: Gated::new(protocol).await.state,
    };
    let edge = edge(&gated, name, "tcp: {maxConnections: 2}", "3").await;
    let mut calls = JoinSet::new();
    for _ in 0..60 {
        let addr = edge.port.addr();
        calls.spawn(async move {
            let mut client = Http1::connect(addr).await;
            for _ in 0..20 {
                assert_eq!(client.get(HOST, "/").await.brief(), (200, "done"));
            }
        });
    }

    let most = Arc::new(AtomicUsize::new(0));
    while let Some(call) = soon("every call", calls.join_next()).await {
        call.expect("every call is answered");
        let open = breaker(&edge).await["connections"]["open"].as_u64();
        most.fetch_max(open.unwrap_or(99) as usize, Ordering::SeqCst);
    }

    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!(gated.origin.requests(), 1_200);
}

#[tokio::test]
async fn two_connections_serve_callers_of_three_workers_by_http1() {
    few_connections_serve_all(Protocol::Http1, "HTTP").await;
}

#[tokio::test]
async fn two_connections_serve_callers_of_three_workers_by_http2() {
    few_connections_serve_all(Protocol::Http2, "HTTP2").await;
}

#[tokio::test]
async fn requests_whose_connection_is_being_opened_are_pending() {
    // A socket that takes no connection once its backlog is full.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a loopback address");
    let addr = socket.local_addr().expect("a bound socket");
    let _listener = socket.listen(1).expect("a listener");
    let mut held = Vec::new();
    while let Ok(Ok(taken)) = tokio::time::timeout(
        Duration::from_millis(300),
        tokio::net::TcpStream::connect(addr),
    )
    .await
    {
        held.push(taken);
    }
    let documents = [
        Service::new(HOST).at(addr).to_string(),
        yaml::routes(
            HOST,
            &format!(
                "  - route: [{{destination: {{host: {HOST}}}}}]\n    retries: {{attempts: 0}}\n"
            ),
        ),
        pool("http: {http1MaxPendingRequests: 3}"),
    ];
    let edge = Edge::start(&documents).await;
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        calls.spawn(ask(&edge));
    }
    breaker_is(&edge, "three wait", |it| it["pending"]["waiting"] == 3).await;

    let (status, cause) = ask(&edge).await;

    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE.as_u16());
    assert_eq!(cause, "upstream_pending_overflow");
    calls.shutdown().await;
    breaker_is(&edge, "nobody waits", |it| it["pending"]["waiting"] == 0).await;
}

#[tokio::test]
async fn a_limit_that_changes_keeps_what_is_under_way() {
    let gated = Gated::new(Protocol::Http1).await;
    let edge = edge(&gated, "HTTP", "tcp: {maxConnections: 3}", "2").await;
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        calls.spawn(ask(&edge));
    }
    gated.has(3).await;

    let yaml = std::fs::read_to_string(edge.proxy.config()).expect("the file is there");
    let fewer = yaml.replace("maxConnections: 3", "maxConnections: 1");
    edge.proxy.apply(&fewer).await;
    calls.spawn(ask(&edge));
    breaker_is(&edge, "the fourth waits", |it| {
        it["pending"]["waiting"] == 1
            && it["connections"]["open"] == 3
            && it["connections"]["max"] == 1
    })
    .await;
    gated.let_go(4);

    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("a call ends").0, 200);
    }
    breaker_is(&edge, "the new limit holds", |it| {
        it["connections"]["open"].as_u64() <= Some(1)
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_goes_lets_those_go_on_who_wait() {
    let gated = Gated::new(Protocol::Http1).await;
    let edge = edge(&gated, "HTTP", "tcp: {maxConnections: 1}", "2").await;
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        calls.spawn(ask(&edge));
    }
    gated.has(1).await;
    breaker_is(&edge, "three wait", |it| it["pending"]["waiting"] == 3).await;

    let yaml = std::fs::read_to_string(edge.proxy.config()).expect("the file is there");
    edge.proxy
        .apply(&yaml.replace("maxConnections: 1", ""))
        .await;

    gated.has(4).await;
    gated.let_go(4);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("a call ends").0, 200);
    }
}

#[tokio::test]
async fn who_waits_for_a_connection_waits_no_longer_than_one_may_take_to_open() {
    let gated = Gated::new(Protocol::Http1).await;
    let policy = "tcp: {maxConnections: 1, connectTimeout: 300ms}";
    let edge = edge(&gated, "HTTP", policy, "1").await;
    let mut calls = JoinSet::new();
    calls.spawn(ask(&edge));
    gated.has(1).await;

    let (status, cause) = ask(&edge).await;

    assert_eq!(status, 503);
    assert_eq!(cause, "upstream_connections_overflow");
    let destination = &edge.proxy.admin("/destinations").await[0];
    assert_eq!(destination["breaker"]["connections"]["refused"], 1);
    assert_eq!(
        destination["endpoints"][0]["requests"], 1,
        "the second was sent nowhere"
    );
    gated.let_go(1);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("a call ends").0, 200);
    }
}

#[tokio::test]
async fn a_lower_limit_closes_connections_that_rest() {
    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::NarrowHttp2, "HTTP2")] {
        let gated = Gated::new(protocol).await;
        let edge = edge(&gated, name, "http: {maxRequestsPerConnection: 100}", "2").await;
        let mut calls = JoinSet::new();
        for _ in 0..12 {
            calls.spawn(ask(&edge));
        }
        gated.has(12).await;
        gated.let_go(12);
        while let Some(call) = calls.join_next().await {
            assert_eq!(call.expect("a call ends").0, 200);
        }
        assert!(breaker(&edge).await["connections"]["open"].as_u64() > Some(2));

        let yaml = std::fs::read_to_string(edge.proxy.config()).expect("the file is there");
        let limited = yaml.replace(
            "connectionPool: {",
            "connectionPool: {tcp: {maxConnections: 2}, ",
        );
        edge.proxy.apply(&limited).await;

        breaker_is(&edge, "two are left", |it| {
            it["connections"]["open"].as_u64() <= Some(2)
        })
        .await;
    }
}

#[tokio::test]
async fn one_who_waits_does_not_cost_others_their_connections() {
    // Two workers, and a stream on each of several connections: who waits gets the place of one.
    let gated = Gated::new(Protocol::NarrowHttp2).await;
    let edge = edge(&gated, "HTTP2", "tcp: {maxConnections: 3}", "1").await;
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        calls.spawn(ask(&edge));
    }
    gated.has(6).await;
    calls.spawn(ask(&edge));
    breaker_is(&edge, "the seventh waits", |it| {
        it["pending"]["waiting"] == 1
    })
    .await;

    gated.let_go(1);

    gated.has(6).await;
    assert_eq!(breaker(&edge).await["connections"]["open"], 3);
    gated.let_go(6);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.expect("a call ends").0, 200);
    }
    assert!(
        gated.origin.connections() <= 4,
        "no storm of new connections"
    );
}
