//! Requests that are begun in vain.

use std::sync::atomic::Ordering;

use tests::frames::{code, frame, get, kind, reset, window};
use tests::{RawHttp2, eventually};

use super::{ATTACKERS, HOST, Scene, silent_origin, stream};

/// Requests of each attacker.
const REQUESTS: u32 = 20_000;
/// Requests that one connection may have at once.
const AT_ONCE: u32 = 100;

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let scene = Scene::begin().await;

    let rapid = |number| {
        let stream = stream(number);
        [get(stream, HOST, "/"), reset(stream, code::CANCEL)].concat()
    };
    let farewells = scene.attack(REQUESTS, rapid).await;

    assert_eq!(farewells, [Some(code::ENHANCE_YOUR_CALM); ATTACKERS]);
    assert_eq!(scene.rejections("http2_resets").await, ATTACKERS as f64);
    let began = scene.origin.requests();
    assert!(began < 200_000, "{began} requests reached the origin");
    scene.end().await;
}

#[tokio::test]
async fn requests_that_are_reset_after_they_reached_the_origin_end_the_connection() {
    let (origin, begun) = silent_origin().await;
    let scene = Scene::before(origin).await;
    let mut raw = RawHttp2::connect(scene.addr(), &[]).await;

    for batch in 0..REQUESTS / AT_ONCE {
        let streams = batch * AT_ONCE..(batch + 1) * AT_ONCE;
        let requests: Vec<u8> = streams
            .clone()
            .flat_map(|number| get(stream(number), HOST, "/slow"))
            .collect();
        if !raw.send(&requests).await {
            break;
        }
        let all = async || begun.load(Ordering::Relaxed) >= streams.end || raw.is_ended();
        eventually("requests at the origin", all, |all| *all).await;
        let resets: Vec<u8> = streams
            .flat_map(|number| reset(stream(number), code::CANCEL))
            .collect();
        if !raw.send(&resets).await {
            break;
        }
    }

    let seen = raw.ended().await;
    assert_eq!(seen.farewell, Some(code::ENHANCE_YOUR_CALM));
    assert_eq!(scene.rejections("http2_resets").await, 1.0);
    scene.end().await;
}

#[tokio::test]
async fn errors_that_make_the_proxy_reset_streams_end_the_connection() {
    let scene = Scene::before(silent_origin().await.0).await;

    let overflow = |number| {
        let stream = stream(number);
        let broken = window(stream, u32::MAX >> 1);
        [get(stream, HOST, "/slow"), broken].concat()
    };
    let farewells = scene.attack(REQUESTS, overflow).await;

    assert_eq!(farewells, [Some(code::ENHANCE_YOUR_CALM); ATTACKERS]);
    let counted = scene.rejections("http2_stream_errors").await;
    assert_eq!(counted, ATTACKERS as f64);
    scene.end().await;
}

#[tokio::test]
async fn streams_that_depend_on_themselves_end_the_connection() {
    let scene = Scene::before(silent_origin().await.0).await;

    let dependent = |number| {
        let stream = stream(number);
        let payload = [&stream.to_be_bytes()[..], &[1]].concat();
        let priority = frame(kind::PRIORITY, 0, stream, &payload);
        [get(stream, HOST, "/slow"), priority].concat()
    };
    let farewells = scene.attack(REQUESTS, dependent).await;

    assert_eq!(farewells, [Some(code::ENHANCE_YOUR_CALM); ATTACKERS]);
    let counted = scene.rejections("http2_stream_errors").await;
    assert_eq!(counted, ATTACKERS as f64);
    scene.end().await;
}

#[tokio::test]
async fn more_streams_than_are_allowed_are_refused_and_the_others_answered() {
    let scene = Scene::before(silent_origin().await.0).await;
    let mut raw = RawHttp2::connect(scene.addr(), &[]).await;

    let all: Vec<u8> = (0..200)
        .flat_map(|number| get(stream(number), HOST, "/slow"))
        .collect();
    assert!(raw.send(&all).await);
    let seen = raw.until("refusals", |seen| seen.resets.len() == 100).await;

    assert!(seen.resets.iter().all(|(_, code)| *code == 0x7), "{seen:?}");
    assert_eq!(seen.farewell, None);
    let freed = reset(1, code::CANCEL);
    assert!(
        raw.send(&[freed, get(stream(200), HOST, "/")].concat())
            .await
    );
    raw.until("an answer", |seen| seen.heads.contains_key(&stream(200)))
        .await;
    drop(raw);
    scene.end().await;
}
