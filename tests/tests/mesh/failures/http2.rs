//! HTTP/2 upstreams: their limits, how they refuse and leave, and what they cannot do to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Version;
use tests::client::{full, get, request};
use tests::origin::{NARROW_STREAMS, Protocol, text};
use tests::script::Peer;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Script, eventually};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{HOST, cause, edge, start};

/// Empty SETTINGS.
const SETTINGS: &str = "\0\0\0\u{4}\0\0\0\0\0";
/// Length of the words that begin a connection (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// Begins HTTP/2 and waits for the first request; whether one came.
async fn first_request(peer: &mut Peer) -> bool {
    peer.say(SETTINGS).await;
    while let Some(bytes) = peer.more().await {
        let mut frames = bytes.get(PREFACE_BYTES..).unwrap_or_default();
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
            if *kind == 1 {
                return true;
            }
            let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            frames = rest.get(len..).unwrap_or_default();
        }
    }
    false
}

/// What an upstream does after its frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    End,
}

/// Sends `frame` on every connection once a request has come; counts the requests.
async fn script(frame: &'static str, then: Then) -> (Script, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&requests);
    let script = Script::start(move |mut peer: Peer| {
        let count = Arc::clone(&count);
        async move {
            if first_request(&mut peer).await {
                count.fetch_add(1, Ordering::Relaxed);
                peer.say(frame).await;
                while then == Then::Stay && peer.more().await.is_some() {}
            }
        }
    })
    .await;
    (script, requests)
}

async fn post(edge: &Edge) -> (u16, (String, String)) {
    let headers = [("x-request-id", "post")];
    let post = request(http::Method::POST, HOST, "/", &headers, full("order"));
    let status = edge.http1().await.send(post).await.status.as_u16();
    (status, cause(edge, "post").await)
}

fn told(flags: &str, details: &str) -> (String, String) {
    (flags.to_owned(), details.to_owned())
}

/// Sends so many requests at once that `origin`, which answers none before all are there, needs
/// `connections` to take them.
async fn crowd(protocol: Protocol, pool: &str, requests: usize) -> usize {
    let all = Arc::new(Barrier::new(requests));
    let origin = Origin::serving(protocol, move |_| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            text("app")
        }
    })
    .await;
    let edge = edge(&[origin.addr()], "HTTP2", pool).await;
    let client = edge.http2().await;
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let mut client = client.clone();
        asking.spawn(async move { client.get(HOST, "/").await });
    }
    for reply in asking.join_all().await {
        assert_eq!(reply.brief(), (200, "app"), "{:?}", reply.headers);
    }
    origin.connections()
}

#[tokio::test]
async fn an_upstream_gets_no_more_streams_on_a_connection_than_it_takes() {
    let connections = crowd(Protocol::NarrowHttp2, "", 12).await;

    assert_eq!(connections, 12 / NARROW_STREAMS as usize);
}

#[tokio::test]
async fn a_rule_can_allow_fewer_streams_than_the_upstream() {
    let pool = "{http: {maxConcurrentStreams: 3}}";

    assert_eq!(crowd(Protocol::Http2, pool, 12).await, 4);
}

#[tokio::test]
async fn what_finds_no_room_on_any_connection_is_refused_in_time() {
    // As many connections as a worker opens to one endpoint.
    const CONNECTIONS: usize = 64;

    let origin = Origin::serving(Protocol::Http2, |_| std::future::pending()).await;
    let pool = "{http: {maxConcurrentStreams: 1}, tcp: {connectTimeout: 500ms}}";
    let edge = edge(&[origin.addr()], "HTTP2", pool).await;
    let client = edge.http2().await;
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = client.clone();
        asking.spawn(async move { client.begin(get(HOST, "/")).await });
    }
    eventually(
        "a request on each connection",
        async || origin.requests(),
        |requests| *requests == CONNECTIONS,
    )
    .await;

    let (status, seen) = post(&edge).await;

    assert_eq!(status, 503);
    assert_eq!(seen, told("URX,UO", "upstream_streams_exhausted"));
    assert_eq!(origin.connections(), CONNECTIONS);
}

#[tokio::test]
async fn refused_streams_are_tried_again_a_bounded_number_of_times() {
    // RST_STREAM of stream 1 with REFUSED_STREAM.
    let (origin, requests) = script("\0\0\u{4}\u{3}\0\0\0\0\u{1}\0\0\0\u{7}", Then::Stay).await;
    let edge = edge(&[origin.addr()], "HTTP2", "").await;

    let headers = [("x-request-id", "get")];
    let reply = edge.http1().await.get_with(HOST, "/", &headers).await;

    assert_eq!(reply.status, 503);
    assert_eq!(
        cause(&edge, "get").await,
        told("URX,UR", "upstream_stream_refused")
    );
    assert!(requests.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn a_request_that_an_upstream_did_not_get_to_is_repeated_even_a_post() {
    // GOAWAY with 0 as the last stream and ENHANCE_YOUR_CALM.
    const GOAWAY: &str = "\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\0\0\0\0\u{b}";
    let going = Script::start(async |mut peer: Peer| {
        if first_request(&mut peer).await {
            peer.say(GOAWAY).await;
            while peer.more().await.is_some() {}
        }
    })
    .await;
    let origin = Origin::speaking(Protocol::Http2, "app").await;
    let edge = edge(&[going.addr(), origin.addr()], "HTTP2", "").await;

    for _ in 0..20 {
        let post = request(http::Method::POST, HOST, "/", &[], tests::client::empty());
        assert_eq!(edge.http1().await.send(post).await.brief(), (200, "app"));
    }

    assert_eq!(origin.requests(), 20);
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_repeated() {
    for (frame, then, flags, details) in [
        ("", Then::End, "UC", "upstream_closed_before_response"),
        // GOAWAY with 1 as the last stream and NO_ERROR.
        (
            "\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\u{1}\0\0\0\0",
            Then::End,
            "UC",
            "upstream_closed_before_response",
        ),
        // RST_STREAM of stream 1 with INTERNAL_ERROR.
        (
            "\0\0\u{4}\u{3}\0\0\0\0\u{1}\0\0\0\u{2}",
            Then::Stay,
            "UR",
            "upstream_stream_reset",
        ),
        // SETTINGS that belong to a stream.
        (
            "\0\0\0\u{4}\0\0\0\0\u{3}",
            Then::Stay,
            "UPE",
            "upstream_protocol_error",
        ),
    ] {
        let (origin, requests) = script(frame, then).await;
        let edge = edge(&[origin.addr()], "HTTP2", "").await;

        let (_, seen) = post(&edge).await;

        assert_eq!(seen, told(flags, details), "{frame:?}");
        assert_eq!(requests.load(Ordering::Relaxed), 1, "{frame:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_answers_no_ping_is_given_up() {
    let (origin, requests) = script(SETTINGS, Then::Stay).await;
    let pool = "{http: {http2KeepAlive: {interval: 100ms, timeout: 100ms}}}";
    let edge = edge(&[origin.addr()], "HTTP2", pool).await;

    let (status, seen) = post(&edge).await;

    assert_eq!(
        (status, seen),
        (503, told("UC", "upstream_connection_lost"))
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_is_sent_to_an_upstream_that_does_not_begin_http2() {
    let http1 = Script::start(async |mut peer: Peer| {
        peer.say("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    let silent = Script::start(async |mut peer: Peer| while peer.more().await.is_some() {}).await;
    let pool = "{tcp: {connectTimeout: 300ms}}";

    for (script, details) in [(http1, "connect_no_http2"), (silent, "connect_timeout")] {
        let edge = edge(&[script.addr()], "HTTP2", pool).await;

        let (status, seen) = post(&edge).await;

        assert_eq!((status, seen), (503, told("URX,UF", details)));
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_not_taken() {
    let origin = Origin::serving(Protocol::Http2, |_| async {
        let mut answer = text("app");
        let value = http::HeaderValue::from_str(&"x".repeat(4_000)).expect("a value");
        for number in 0..30 {
            let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes());
            let headers = answer.headers_mut();
            headers.insert(name.expect("a name"), value.clone());
        }
        answer
    })
    .await;
    let edge = edge(&[origin.addr()], "HTTP2", "").await;

    let (status, (flags, _)) = post(&edge).await;

    // The stream is reset by us, to which the origin may answer with a reset of its own.
    let refused = matches!((status, &*flags), (502, "UPE") | (503, "UR"));
    assert!(refused, "{status} {flags}");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn an_upstream_that_floods_with_pings_costs_little_memory() {
    const PING: &str = "\0\0\u{8}\u{6}\0\0\0\0\0abcdefgh";
    const MEMORY_MAX: u64 = 16 * 1024 * 1024;

    let origin = Script::start(async |mut peer: Peer| {
        if first_request(&mut peer).await {
            // Never reads what we have to answer.
            peer.say(&PING.repeat(1_000_000)).await;
        }
    })
    .await;
    let rules = "  - timeout: 2s\n    route: [{destination: {host: app.test}}]";
    let service = Service::new(HOST).protocol("HTTP2").at(origin.addr());
    let edge = start(&[service.to_string(), yaml::routes(HOST, rules)]).await;
    let before = edge.proxy.resident_bytes();

    let (status, seen) = post(&edge).await;

    assert_eq!((status, seen), (504, told("UT", "response_timeout")));
    let grown = edge.proxy.resident_peak_bytes().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes more");
}

#[tokio::test]
async fn a_rule_decides_which_http_an_upstream_is_spoken_to() {
    for (protocol, pool, from_http2, expected) in [
        (
            Protocol::Http2,
            "{http: {h2UpgradePolicy: UPGRADE}}",
            false,
            Version::HTTP_2,
        ),
        (
            Protocol::Http1,
            "{http: {h2UpgradePolicy: DO_NOT_UPGRADE}}",
            true,
            Version::HTTP_11,
        ),
        (
            Protocol::Http2,
            "{http: {useClientProtocol: true}}",
            true,
            Version::HTTP_2,
        ),
        (
            Protocol::Http1,
            "{http: {useClientProtocol: true}}",
            false,
            Version::HTTP_11,
        ),
    ] {
        let origin = Origin::speaking(protocol, "app").await;
        let edge = edge(&[origin.addr()], "HTTP", pool).await;

        let reply = match from_http2 {
            true => edge.http2().await.get(HOST, "/").await,
            false => edge.http1().await.get(HOST, "/").await,
        };

        assert_eq!(reply.brief(), (200, "app"), "{pool}");
        assert_eq!(origin.last().version, expected, "{pool}");
    }
}
