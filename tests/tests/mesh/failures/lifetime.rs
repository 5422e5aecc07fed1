//! How long connections to upstreams live: by configuration, and by what the upstream says and does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::origin::{Protocol, text};
use tests::script::Peer;
use tests::{Edge, Origin, Script, eventually};

use super::{HOST, edge};

/// What `/destinations` says of the limit of the only endpoint.
async fn learned(edge: &Edge, how: &str) -> Option<String> {
    let destinations = edge.proxy.admin("/destinations").await;
    let limit = &destinations[0]["endpoints"][0]["keepAlive"][how];
    limit.as_str().map(str::to_owned)
}

/// Answers with `headers` and never closes; counts the connections that the proxy ended.
async fn patient(headers: &'static str) -> (Script, Arc<AtomicUsize>) {
    let ended = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&ended);
    let origin = Script::start(move |mut peer: Peer| {
        let count = Arc::clone(&count);
        async move {
            while peer.request().await.is_some() {
                peer.say(&format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{headers}\r\nok"
                ))
                .await;
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    (origin, ended)
}

#[tokio::test]
async fn the_limit_that_an_upstream_announces_is_undercut() {
    let (origin, ended) = patient("keep-alive: timeout=1, max=100\r\n").await;
    let edge = edge(&[origin.addr()], "HTTP", "").await;

    assert_eq!(edge.http1().await.get(HOST, "/").await.brief(), (200, "ok"));

    assert_eq!(learned(&edge, "announced").await.as_deref(), Some("1s"));
    let ended = async || ended.load(Ordering::Relaxed);
    eventually("the end of the resting connection", ended, |it| *it == 1).await;
}

#[tokio::test]
async fn the_limit_that_an_upstream_shows_is_learned() {
    const LIMIT: Duration = Duration::from_millis(700);

    let origin = Script::start(async |mut peer: Peer| {
        while let Ok(Some(_)) = tokio::time::timeout(LIMIT, peer.request()).await {
            peer.answer("ok").await;
        }
    })
    .await;
    let edge = edge(&[origin.addr()], "HTTP", "").await;
    let idle = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_upstream_connections_active", &[])
    };

    let mut observed = None;
    for _ in 0..10 {
        assert_eq!(edge.http1().await.get(HOST, "/").await.brief(), (200, "ok"));
        eventually("a close that was seen", idle, |open| *open == 0.0).await;
        observed = learned(&edge, "observed").await;
        if observed.is_some() {
            break;
        }
    }

    let observed = observed.expect("closes at the same age teach the limit");
    assert!(observed.ends_with("ms"), "less than a second: {observed}");
    assert_eq!(learned(&edge, "announced").await, None);
}

#[tokio::test]
async fn the_requests_that_an_upstream_allows_are_not_exceeded() {
    let origin = Script::start(async |mut peer: Peer| {
        for left in [1, 0] {
            if peer.request().await.is_none() {
                return;
            }
            peer.say(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: max={left}\r\n\r\nok"
            ))
            .await;
        }
        // What comes now would never be answered.
        while peer.request().await.is_some() {}
    })
    .await;
    let edge = edge(&[origin.addr()], "HTTP", "").await;
    let mut client = edge.http1().await;

    for _ in 0..10 {
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "ok"));
    }
}

#[tokio::test]
async fn a_connection_that_rests_is_closed_in_time() {
    for pool in [
        "{http: {idleTimeout: 200ms}}",
        "{tcp: {maxConnectionDuration: 200ms}}",
    ] {
        let (origin, ended) = patient("").await;
        let edge = edge(&[origin.addr()], "HTTP", pool).await;

        assert_eq!(edge.http1().await.get(HOST, "/").await.brief(), (200, "ok"));

        let ended = async || ended.load(Ordering::Relaxed);
        eventually(pool, ended, |ended| *ended == 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_grew_too_old_ends_after_the_requests_on_it() {
    for (protocol, name) in [(Protocol::Http1, "HTTP"), (Protocol::Http2, "HTTP2")] {
        let origin = Origin::serving(protocol, |request| async move {
            if request.uri().path() == "/slow" {
                // Longer than a connection may live.
                tokio::time::sleep(Duration::from_millis(1_500)).await;
            }
            text("ok")
        })
        .await;
        let pool = "{tcp: {maxConnectionDuration: 100ms}}";
        let edge = edge(&[origin.addr()], name, pool).await;

        let slow = edge.http1().await.get(HOST, "/slow").await;
        assert_eq!(slow.brief(), (200, "ok"), "{name}");
        let next = edge.http1().await.get(HOST, "/").await;

        assert_eq!(next.brief(), (200, "ok"), "{name}");
        assert_eq!(origin.connections(), 2, "{name}");
    }
}
