//! Games with flow control.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tests::frames::{INITIAL_WINDOW_SIZE, code, frame, get, kind, window};
use tests::origin::{Protocol, text};
use tests::{Origin, RawHttp2, eventually};

use super::{ATTACKERS, HOST, Scene, stream};

/// Requests that one connection may have at once.
const STREAMS: u32 = 100;
/// Body of a large answer, in bytes. All of them together would be 400 MiB.
const LARGE_BYTES: usize = 1 << 20;

/// Answers `/` shortly and everything else with a large body; counts the latter.
async fn large_origin() -> (Origin, Arc<AtomicU32>) {
    let large = Bytes::from(vec![b'x'; LARGE_BYTES]);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let origin = Origin::serving(Protocol::Http1, move |request| {
        let answer = match request.uri().path() {
            "/" => text("app"),
            _ => {
                counted.fetch_add(1, Ordering::Relaxed);
                text(large.clone())
            }
        };
        async move { answer }
    })
    .await;
    (origin, asked)
}

async fn holds_answers(settings: &'static [(u16, u32)], room: u32) {
    let scene = Scene::before(large_origin().await.0).await;

    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut raw = RawHttp2::connect(scene.addr(), settings).await;
        let requests = raw.flood(STREAMS, |number| get(stream(number), HOST, "/large"));
        assert_eq!(requests.await, STREAMS);
        attackers.push(raw);
    }
    for raw in &mut attackers {
        let all = |seen: &tests::frames::Seen| seen.heads.len() == STREAMS as usize;
        raw.until("heads of all answers", all).await;
        if room > 0 {
            raw.until("bodies' beginnings", |seen| seen.count(kind::DATA) > 0)
                .await;
        }
    }

    drop(attackers);
    scene.end().await;
}

#[tokio::test]
async fn answers_that_nobody_makes_room_for_are_held_in_bounded_memory() {
    holds_answers(&[(INITIAL_WINDOW_SIZE, 0)], 0).await;
}

#[tokio::test]
async fn answers_of_which_one_byte_is_taken_are_held_in_bounded_memory() {
    holds_answers(&[(INITIAL_WINDOW_SIZE, 1)], 1).await;
}

#[tokio::test]
async fn answers_that_fill_the_window_of_the_connection_are_held_in_bounded_memory() {
    holds_answers(&[(INITIAL_WINDOW_SIZE, u32::MAX >> 1)], 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_socket_harms_nobody() {
    let (origin, asked) = large_origin().await;
    let scene = Scene::before(origin).await;
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut tcp = tokio::net::TcpStream::connect(scene.addr())
            .await
            .expect("a listener");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let settings = [
            &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
            &(1_u32 << 30).to_be_bytes(),
        ]
        .concat();
        hello.extend(frame(kind::SETTINGS, 0, 0, &settings));
        hello.extend(window(0, 1 << 30));
        hello.extend((0..STREAMS).flat_map(|number| get(stream(number), HOST, "/large")));
        tokio::io::AsyncWriteExt::write_all(&mut tcp, &hello)
            .await
            .expect("it is taken");
        attackers.push(tcp);
    }
    let all = ATTACKERS as u32 * STREAMS;
    let began = async || asked.load(Ordering::Relaxed);
    eventually("all requests", began, |begun| *begun == all).await;

    drop(attackers);
    scene.end().await;
}

#[tokio::test]
async fn a_window_that_overflows_ends_what_it_belongs_to() {
    let scene = Scene::before(large_origin().await.0).await;
    let mut raw = RawHttp2::connect(scene.addr(), &[(INITIAL_WINDOW_SIZE, 0)]).await;

    assert!(
        raw.send(
            &[
                get(1, HOST, "/large"),
                window(1, u32::MAX >> 1),
                window(1, 1)
            ]
            .concat()
        )
        .await
    );
    let seen = raw
        .until("a reset", |seen| seen.resets.contains_key(&1))
        .await;
    assert_eq!(seen.resets[&1], code::FLOW_CONTROL_ERROR);
    assert_eq!(seen.farewell, None);
    assert!(
        raw.send(&[window(0, u32::MAX >> 1), window(0, u32::MAX >> 1)].concat())
            .await
    );

    assert_eq!(raw.ended().await.farewell, Some(code::FLOW_CONTROL_ERROR));
    assert_eq!(scene.rejections("http2_protocol_error").await, 1.0);
    scene.end().await;
}

#[tokio::test]
async fn windows_that_move_with_every_settings_frame_end_the_connection() {
    let scene = Scene::before(large_origin().await.0).await;

    let moving = |number| match number {
        0..100 => get(stream(number), HOST, "/large"),
        _ => {
            let window = if number % 2 == 0 { 0_u32 } else { 1 << 20 };
            let payload = [
                &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
                &window.to_be_bytes(),
            ]
            .concat();
            frame(kind::SETTINGS, 0, 0, &payload)
        }
    };
    let farewells = scene.attack(10_000, moving).await;

    assert_eq!(farewells.len(), ATTACKERS);
    assert_eq!(scene.rejections("http2_settings").await, ATTACKERS as f64);
    scene.end().await;
}
