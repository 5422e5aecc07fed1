//! Faults that annotations ask for: resets and slow bodies.

use std::time::{Duration, Instant};

use tests::client::get;
use tests::frames::{self, kind};
use tests::{Origin, RawHttp2};

use super::{HOST, counted, edge, logged};

const RULES: &str = "
  - name: buy
    match: [{uri: {prefix: /buy}}]
    route: [{destination: {host: ratings.test}}]
  - route: [{destination: {host: ratings.test}}]
";
const RESET: (&str, &str) = ("fault-reset", "100%; rules=buy");

#[tokio::test]
async fn a_connection_of_http1_is_reset_before_any_byte_of_an_answer() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[RESET], RULES).await;
    let mut wire = edge.wire().await;

    wire.say(format!("GET /buy HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
        .await;
    let (came, orderly) = wire.rest().await;

    assert_eq!(
        (came.as_str(), orderly),
        ("", false),
        "a reset, and nothing before"
    );
    let line = logged(&edge).await;
    assert_eq!(line["response_flags"], "FI");
    assert_eq!(line["response_code"], 0);
    assert_eq!(line["response_code_details"], "fault_reset");
    assert_eq!(counted(&edge, "reset").await, 1.0);
    assert_eq!(origin.requests(), 0);
    assert_eq!(
        edge.http1().await.get(HOST, "/sell").await.brief(),
        (200, "app")
    );
}

#[tokio::test]
async fn over_http2_the_stream_is_reset_and_its_connection_stays() {
    let origin = Origin::named("app").await;
    let edge = edge(origin.addr(), &[RESET], RULES).await;
    let mut raw = RawHttp2::connect(edge.port.addr(), &[]).await;

    raw.send(&frames::get(1, HOST, "/buy")).await;
    raw.until("a reset", |seen| seen.count(kind::RST_STREAM) == 1)
        .await;
    raw.send(&frames::get(3, HOST, "/sell")).await;
    let seen = raw
        .until("an answer", |seen| seen.heads.contains_key(&3))
        .await;

    assert!(seen.resets.contains_key(&1) && !seen.heads.contains_key(&1));
    assert_eq!(seen.farewell, None);
    assert_eq!(logged(&edge).await["response_flags"], "FI");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_slow_body_takes_the_time_of_its_bytes_and_arrives_whole() {
    const BYTES: usize = 1_000;
    let origin = Origin::named(&"x".repeat(BYTES)).await;
    let slow = ("fault-slow-body", "100%; rate=2000B/s; rules=buy");
    let edge = edge(origin.addr(), &[slow], RULES).await;
    let mut client = edge.http1().await;

    let start = Instant::now();
    let reply = client.send(get(HOST, "/buy")).await;
    let took = start.elapsed();

    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, BYTES));
    assert_eq!(reply.header("content-length"), BYTES.to_string());
    assert!(took >= Duration::from_millis(490), "{took:?}");
    assert_eq!(logged(&edge).await["response_flags"], "DI");
    assert_eq!(counted(&edge, "slow-body").await, 1.0);
    assert_eq!(client.get(HOST, "/sell").await.body.len(), BYTES);
    assert_eq!(counted(&edge, "slow-body").await, 1.0);
}
