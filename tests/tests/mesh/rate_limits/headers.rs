//! Headers that limits look at: those that the proxy adds itself, and the one with two spellings.

use tests::{Edge, Origin};

use super::{HOST, documents, passed, policy};

/// A gateway that writes no access log, which would put the added headers in their place early.
async fn silent(origin: &Origin, limits: &str) -> Edge {
    let policy = policy("shop", "selector: {}", limits);
    Edge::start(&documents(origin, &[policy])).await
}

#[tokio::test]
async fn headers_that_the_gateway_adds_count_without_an_access_log() {
    let added = "request.headers[x-forwarded-for]";
    let as_override = format!(
        "
  - name: all
    requests: 5
    per: 1h
    overrides: [{{dimensions: {{'{added}': 127.0.0.1}}, requests: 1, per: 1h}}]
"
    );
    let as_match = "
  - name: all
    requests: 1
    per: 1h
    match: [{headers: {x-forwarded-for: {exact: 127.0.0.1}}}]
";
    for limits in [&as_override, as_match] {
        let origin = Origin::named("shop").await;
        let edge = silent(&origin, limits).await;
        let mut client = edge.http1().await;

        let passed = passed(&mut client, HOST, &[], 4).await;

        assert_eq!(passed, 1, "{limits}");
    }
}

#[tokio::test]
async fn the_host_is_the_same_header_in_both_protocols() {
    let origin = Origin::named("shop").await;
    let limits = "  - {name: all, requests: 2, per: 1h, key: ['request.headers[host]']}";
    let edge = silent(&origin, limits).await;
    let (mut http1, mut http2) = (edge.http1().await, edge.http2().await);

    assert_eq!(passed(&mut http1, HOST, &[], 3).await, 2);
    let by_http2 = http2.get(HOST, "/").await;

    assert_eq!(by_http2.status, 429);
}
