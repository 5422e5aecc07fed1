//! Every condition of `retryOn` by every moment in which an attempt can fail, for methods that may be
//! repeated and those that may not. The upstream counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::Value;
use tests::client::{empty, full, request};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Port, Script};

/// Names of the rules, and their `retries`.
const RULES: [(&str, &str); 10] = [
    ("default", ""),
    ("off", "attempts: 0"),
    ("5xx", "attempts: 2, backoff: 1ms, retryOn: 5xx"),
    (
        "gateway",
        "attempts: 2, backoff: 1ms, retryOn: gateway-error",
    ),
    ("reset", "attempts: 2, backoff: 1ms, retryOn: reset"),
    (
        "before",
        "attempts: 2, backoff: 1ms, retryOn: reset-before-request",
    ),
    (
        "connect",
        "attempts: 2, backoff: 1ms, retryOn: connect-failure",
    ),
    (
        "refused",
        "attempts: 2, backoff: 1ms, retryOn: refused-stream",
    ),
    ("4xx", "attempts: 2, backoff: 1ms, retryOn: retriable-4xx"),
    ("codes", "attempts: 2, backoff: 1ms, retryOn: '503,418'"),
];

/// Rules that repeat what was lost on the way, whatever had become of it.
const OF_LOSS: &[&str] = &["5xx", "gateway", "reset"];
/// Bytes of a request's body: more than comes with its head, less than the kernel holds.
const BODY_BYTES: usize = 32 * 1024;

/// A moment in which an attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeConnect,
    AfterAccept,
    AfterHead,
    WithinBody,
    AfterRequest,
    WithinAnswersHead,
    NoHttp,
    Answer(u16),
}

/// A moment, how it is called, which rules repeat it, and what a client sees in the end.
struct Row {
    moment: Moment,
    host: &'static str,
    repeated_by: &'static [&'static str],
    status: u16,
    flag: &'static str,
}

#[rustfmt::skip]
const ROWS: [Row; 11] = [
    row(Moment::BeforeConnect, "connect.test", &["default", "5xx", "gateway", "reset", "before", "connect"], 503, "UF"),
    row(Moment::AfterAccept, "accept.test", OF_LOSS, 503, "UC"),
    row(Moment::AfterHead, "head.test", OF_LOSS, 503, "UC"),
    row(Moment::WithinBody, "body.test", OF_LOSS, 503, "UC"),
    row(Moment::AfterRequest, "request.test", OF_LOSS, 503, "UC"),
    row(Moment::WithinAnswersHead, "part.test", OF_LOSS, 503, "UC"),
    row(Moment::NoHttp, "garbage.test", OF_LOSS, 502, "UPE"),
    row(Moment::Answer(500), "answer500.test", &["5xx"], 500, ""),
    row(Moment::Answer(503), "answer503.test", &["5xx", "gateway", "codes"], 503, ""),
    row(Moment::Answer(409), "answer409.test", &["4xx"], 409, ""),
    row(Moment::Answer(418), "answer418.test", &["codes"], 418, ""),
];

const fn row(
    moment: Moment,
    host: &'static str,
    repeated_by: &'static [&'static str],
    status: u16,
    flag: &'static str,
) -> Row {
    Row {
        moment,
        host,
        repeated_by,
        status,
        flag,
    }
}

async fn play(moment: Moment, mut peer: Peer) {
    match moment {
        Moment::BeforeConnect | Moment::AfterAccept => {}
        Moment::AfterHead => {
            peer.head().await;
            peer.reset();
        }
        Moment::WithinBody => {
            let head = peer.head().await.unwrap_or_default();
            if !head.starts_with("GET") {
                peer.bytes(1_000).await;
            }
            peer.reset();
        }
        Moment::AfterRequest => {
            peer.request().await;
            peer.reset();
        }
        Moment::WithinAnswersHead => {
            peer.request().await;
            peer.say("HTTP/1.1 200 O").await;
        }
        Moment::NoHttp => {
            peer.request().await;
            peer.say("what?\r\n\r\n").await;
        }
        Moment::Answer(status) => {
            peer.request().await;
            peer.say(&format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"))
                .await;
        }
    }
}

/// An upstream that fails in `moment`, and how many connections it had.
async fn upstream(moment: Moment) -> (Script, Arc<AtomicUsize>) {
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    let script = Script::start(move |peer| {
        counted.fetch_add(1, Ordering::SeqCst);
        play(moment, peer)
    })
    .await;
    (script, connections)
}

/// The documents of a host. Every attempt has a connection of its own, so that none is reused.
fn documents(host: &str, addr: SocketAddr) -> String {
    let rules: String = RULES
        .iter()
        .map(|(name, retries)| {
            let retries = match *retries {
                "" => String::new(),
                retries => format!("    retries: {{{retries}}}\n"),
            };
            format!(
                "  - match: [{{uri: {{prefix: /{name}/}}}}]\n{retries}    \
                 route: [{{destination: {{host: {host}}}}}]\n"
            )
        })
        .collect();
    let policy = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {}}}
spec:
  host: {host}
  trafficPolicy:
    connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}
---
",
        host.replace('.', "-")
    );
    Service::new(host).at(addr).to_string() + &yaml::routes(host, &rules) + &policy
}

#[tokio::test]
async fn an_attempt_is_repeated_exactly_when_the_rule_and_the_moment_say_so() {
    let dead = Port::reserve();
    let mut upstreams = Vec::new();
    let mut all = Vec::new();
    for row in &ROWS {
        let (script, connections) = upstream(row.moment).await;
        let addr = match row.moment {
            Moment::BeforeConnect => dead.addr(),
            _ => script.addr(),
        };
        all.push(documents(row.host, addr));
        upstreams.push((script, connections));
    }
    let edge = Edge::start_with(&all, &["--access-log", "json"]).await;

    for (row, (_, connections)) in ROWS.iter().zip(&upstreams) {
        for (rule, _) in RULES {
            for method in [Method::GET, Method::PUT, Method::POST] {
                let before = connections.load(Ordering::SeqCst);
                let seen = outcome(&edge, row, rule, &method).await;
                let made = connections.load(Ordering::SeqCst) - before;

                let what = format!("{method} by {rule} {:?}", row.moment);
                let repeated = row.repeated_by.contains(&rule);
                let attempts = if repeated { 3 } else { 1 };
                let flags = match (repeated, row.flag) {
                    (true, "") => "URX".to_owned(),
                    (true, flag) => format!("URX,{flag}"),
                    (false, "") => "-".to_owned(),
                    (false, flag) => flag.to_owned(),
                };
                assert_eq!(seen, (row.status, attempts, flags), "{what}");
                if row.moment != Moment::BeforeConnect {
                    assert_eq!(made as u64, attempts, "{what}: as the upstream counts");
                }
            }
        }
    }
    let metrics = edge.proxy.metrics().await;
    let twice = [("cause", "reset"), ("idempotent", "false")];
    assert!(
        metrics.sum("meshproxy_retries_total", &twice) > 0.0,
        "what may have been done twice can be seen"
    );
}

/// Status, attempts and flags of one request, as the client and the log have them.
async fn outcome(edge: &Edge, row: &Row, rule: &str, method: &Method) -> (u16, u64, String) {
    let body = match *method {
        Method::GET => empty(),
        _ => full(vec![b'x'; BODY_BYTES]),
    };
    let path = format!("/{rule}/{method}/{}", row.host);
    let request = request(method.clone(), row.host, &path, &[], body);
    let reply = edge.http1().await.send(request).await;
    let field = format!("\"path\":\"{path}\"");
    let line = edge
        .proxy
        .stdout
        .line(&path, |line| line.contains(&field))
        .await;
    let line: Value = serde_json::from_str(&line).expect("lines are JSON");
    assert_eq!(line["response_code"], reply.status.as_u16());
    let attempts = line["attempts"].as_u64().expect("a number");
    let flags = line["response_flags"].as_str().expect("a text");
    (reply.status.as_u16(), attempts, flags.to_owned())
}
