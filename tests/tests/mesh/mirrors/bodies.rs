//! Bodies of copied requests.

use std::convert::Infallible;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::body::{Bytes, Incoming};
use tests::client::{Body, request};
use tests::origin::{Protocol, body, text};
use tests::{Origin, Reply, eventually};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{HOST, RULES, counted, edge};

const MEBIBYTE: usize = 1024 * 1024;
const LARGE_BYTES: usize = 100 * MEBIBYTE;
/// What a mirror may be behind here; less than the window that the proxy gives it.
const BEHIND_BYTES_MAX: usize = 2 * MEBIBYTE;
const PIECE_BYTES: usize = 64 * 1024;
/// For an upload, on a machine that has much else to do.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(180);
/// What a large body may add to the proxy's memory: windows and buffers, and far less than the body.
const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// Adds to a hash of bytes, however they come in parts.
#[derive(Default)]
struct Hash(std::hash::DefaultHasher);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        // Unlike a slice as a whole, single bytes have no length of their own.
        self.0.write(bytes);
    }
}

/// Tells the number and the hash of the bytes that came. The head of its answer comes at once, so
/// that the wait for the bytes is that for a body.
async fn telling(protocol: Protocol) -> Origin {
    Origin::serving(protocol, |request| async move {
        let (mut sender, answer) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            let said = hash(request.into_body(), &watch::channel(0).0).await;
            // Who asked may have left.
            let _ = sender.send_data(said.into()).await;
        });
        Response::new(body(answer))
    })
    .await
}

/// Notes the same and answers then. `came` says meanwhile how far it is.
async fn noting(protocol: Protocol, came: watch::Sender<usize>) -> (Origin, Arc<Mutex<String>>) {
    let noted = Arc::<Mutex<String>>::default();
    let (came, notes) = (Arc::new(came), Arc::clone(&noted));
    let origin = Origin::serving(protocol, move |request| {
        let (came, notes) = (Arc::clone(&came), Arc::clone(&notes));
        async move {
            let said = hash(request.into_body(), &came).await;
            notes.lock().expect("no panic").clone_from(&said);
            text(said)
        }
    })
    .await;
    (origin, noted)
}

async fn hash(mut body: Incoming, came: &watch::Sender<usize>) -> String {
    let (mut hash, mut bytes) = (Hash::default(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return "broken".to_owned();
        };
        if let Some(data) = frame.data_ref() {
            hash.add(data);
            bytes += data.len();
            came.send_replace(bytes);
        }
    }
    let said = format!("{bytes} {:x}", hash.0.finish());
    came.send_replace(usize::MAX);
    said
}

/// A body whose pieces differ, and its hash; no piece is sent while the mirror is too far behind.
fn varied(mut mirror: watch::Receiver<usize>) -> (Body, String) {
    let piece = |number: usize| -> Vec<u8> {
        let seed = number.to_le_bytes();
        seed.repeat(PIECE_BYTES / seed.len())
    };
    let pieces = LARGE_BYTES / PIECE_BYTES;
    let mut hash = Hash::default();
    (0..pieces).for_each(|number| hash.add(&piece(number)));
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for number in 0..pieces {
            let least = (number * PIECE_BYTES).saturating_sub(BEHIND_BYTES_MAX);
            if mirror.wait_for(|came| *came >= least).await.is_err()
                || sender.send_data(piece(number).into()).await.is_err()
            {
                return;
            }
        }
    });
    (body.boxed(), format!("{LARGE_BYTES} {:x}", hash.0.finish()))
}

async fn a_large_body_arrives(protocol: Protocol, name: &str) {
    let (came, seen) = watch::channel(0);
    let (shadow, noted) = noting(protocol, came).await;
    let origin = telling(protocol).await;
    let edge = edge(origin.addr(), shadow.addr(), name, RULES).await;
    let before = edge.proxy.resident_bytes();
    let (body, expected) = varied(seen);

    let post = request(Method::POST, HOST, "/", &[], body);
    let begun = edge.http1().await.begin(post).await.expect("an answer");
    let reply = timeout(TRANSFER_TIMEOUT, Reply::of(begun)).await;
    let reply = reply.expect("an upload in time").expect("an answer");
    counted(&edge, "answered", 1).await;

    assert_eq!(reply.text(), expected);
    assert_eq!(*noted.lock().expect("no panic"), expected, "at the mirror");
    let growth = edge.proxy.resident_peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_arrive_whole_at_both() {
    a_large_body_arrives(Protocol::Http1, "HTTP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_arrive_whole_at_both_over_http2() {
    a_large_body_arrives(Protocol::Http2, "HTTP2").await;
}

#[tokio::test]
async fn trailers_arrive_at_both() {
    let sums = Arc::new(AtomicUsize::new(0));
    let summing = |sums: &Arc<AtomicUsize>| {
        let sums = Arc::clone(sums);
        Origin::serving(Protocol::Http2, move |request| {
            let sums = Arc::clone(&sums);
            async move {
                let body = request.into_body().collect().await.expect("a whole body");
                let sum = body
                    .trailers()
                    .and_then(|it| it["x-sum"].to_str().ok()?.parse().ok());
                sums.fetch_add(sum.unwrap_or(0), Ordering::Relaxed);
                text("")
            }
        })
    };
    let (origin, shadow) = (summing(&sums).await, summing(&sums).await);
    let edge = edge(origin.addr(), shadow.addr(), "HTTP2", RULES).await;
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let sends = async {
        let _ = sender.send_data("ten apples".into()).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        let _ = sender.send_trailers(trailers).await;
    };

    let mut client = edge.http2().await;
    let post = request(Method::POST, HOST, "/", &[("te", "trailers")], body.boxed());
    let (reply, ()) = tokio::join!(client.send(post), sends);
    counted(&edge, "answered", 1).await;

    assert_eq!(reply.status, 200);
    assert_eq!(sums.load(Ordering::Relaxed), 14);
}

#[tokio::test]
async fn a_body_that_waits_for_leave_does_not_wait_for_the_mirrors() {
    let [origin, shadow] = [Origin::named("shop").await, Origin::named("shadow").await];
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", RULES).await;
    let mut wire = edge.wire().await;

    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 10\r\n");
    wire.say(head + "expect: 100-continue\r\n\r\n").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 100 "));
    wire.say("ten apples").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));

    counted(&edge, "answered", 1).await;
    assert_eq!(origin.last().header("expect"), "100-continue");
    assert_eq!(shadow.last().header("expect"), "");
}

#[tokio::test]
async fn when_the_client_breaks_off_the_mirror_gets_no_whole_request() {
    let came = watch::channel(0);
    let origin = Origin::named("shop").await;
    let (shadow, _) = noting(Protocol::Http1, came.0).await;
    let edge = edge(origin.addr(), shadow.addr(), "HTTP", RULES).await;
    let mut wire = edge.wire().await;

    let requests = async || shadow.requests();

    for (number, framing) in [
        (1, "content-length: 100"),
        (2, "transfer-encoding: chunked"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n{framing}\r\n\r\n");
        wire.say(head + "5\r\napple\r\n").await;
        eventually("a copy", requests, |count| *count == number).await;
        drop(std::mem::replace(&mut wire, edge.wire().await));
    }

    counted(&edge, "incomplete", 2).await;
    assert_ne!(*came.1.borrow(), usize::MAX, "none was whole");
}
