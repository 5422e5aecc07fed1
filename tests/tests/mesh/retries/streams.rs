//! Streams of HTTP/2 that fail.

use http::Method;
use tests::Edge;
use tests::client::{empty, full, request};
use tests::yaml::{self, Service};

use super::frames::{Fate, Frames};

const HOST: &str = "streams.test";
const RULES: &str = "
  - match: [{uri: {prefix: /default/}}]
    route: [{destination: {host: streams.test}}]
  - match: [{uri: {prefix: /off/}}]
    retries: {attempts: 0}
    route: [{destination: {host: streams.test}}]
  - match: [{uri: {prefix: /connect/}}]
    retries: {attempts: 2, backoff: 1ms, retryOn: connect-failure}
    route: [{destination: {host: streams.test}}]
  - match: [{uri: {prefix: /refused/}}]
    retries: {attempts: 2, backoff: 1ms, retryOn: refused-stream}
    route: [{destination: {host: streams.test}}]
  - match: [{uri: {prefix: /reset/}}]
    retries: {attempts: 2, backoff: 1ms, retryOn: reset}
    route: [{destination: {host: streams.test}}]
";

async fn edge(server: &Frames) -> Edge {
    let service = Service::new(HOST).protocol("HTTP2").at(server.addr);
    Edge::start_with(
        &[service.to_string(), yaml::routes(HOST, RULES)],
        &["--workers", "1"],
    )
    .await
}

#[tokio::test]
async fn streams_are_repeated_exactly_when_the_rule_and_their_end_say_so() {
    for (fates, rules) in [
        (
            &[Fate::Refused, Fate::Answered][..],
            &["default", "refused", "reset"][..],
        ),
        (
            &[Fate::Unprocessed, Fate::Answered],
            &["default", "refused", "reset"],
        ),
        (&[Fate::Reset, Fate::Answered], &["reset"]),
        (&[Fate::Processed, Fate::Answered], &["reset"]),
        (&[Fate::Cut, Fate::Answered], &["reset"]),
    ] {
        for rule in ["default", "off", "connect", "refused", "reset"] {
            for method in [Method::GET, Method::POST] {
                let what = format!("{method} by {rule}, {:?}", fates[0]);
                let server = Frames::start(fates).await;
                let edge = edge(&server).await;
                let body = match method {
                    Method::GET => empty(),
                    _ => full("x".repeat(10_000)),
                };
                let path = format!("/{rule}/");
                let request = request(method.clone(), HOST, &path, &[], body);

                let reply = edge.http1().await.send(request).await;

                let bodies = server.bodies();
                if rules.contains(&rule) {
                    assert_eq!(reply.status, 200, "{what}");
                    assert_eq!(bodies.len(), 2, "{what}");
                    assert!(bodies[0] == bodies[1], "{what}: the same again");
                } else {
                    assert_eq!(reply.status, 503, "{what}");
                    assert_eq!(bodies.len(), 1, "{what}");
                }
            }
        }
    }
}
