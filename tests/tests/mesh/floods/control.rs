//! Floods of frames that carry nothing.

use tests::frames::{code, flag, frame, get, kind, window};

use super::{ATTACKERS, HOST, Scene, stream};

/// Frames of each attacker; the budgets end far below.
const FRAMES: u32 = 50_000;

async fn is_ended(cause: &str, frames: impl Fn(u32) -> Vec<u8> + Send + Clone + 'static) {
    let scene = Scene::begin().await;

    let farewells = scene.attack(FRAMES, frames).await;

    assert_eq!(
        farewells,
        [Some(code::ENHANCE_YOUR_CALM); ATTACKERS],
        "{cause}"
    );
    assert_eq!(scene.rejections(cause).await, ATTACKERS as f64, "{cause}");
    scene.end().await;
}

#[tokio::test]
async fn a_flood_of_settings_is_ended() {
    is_ended("http2_settings", |_| frame(kind::SETTINGS, 0, 0, &[])).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_ended() {
    is_ended("http2_pings", |_| frame(kind::PING, 0, 0, &[0; 8])).await;
}

#[tokio::test]
async fn a_flood_of_priorities_is_ended() {
    is_ended("http2_priorities", |number| {
        frame(kind::PRIORITY, 0, stream(number % 1_000), &[0, 0, 0, 0, 9])
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_unknown_frames_is_ended() {
    is_ended("http2_priorities", |_| frame(0xbe, 0, 0, &[1; 100])).await;
}

#[tokio::test]
async fn a_flood_of_window_updates_is_ended() {
    is_ended("http2_window_updates", |number| match number {
        0 => get(1, HOST, "/"),
        _ => window(0, 1),
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_empty_data_is_ended() {
    is_ended("http2_empty_data", |number| match number {
        0 => frame(
            kind::HEADERS,
            flag::END_HEADERS,
            1,
            &tests::frames::block(HOST, "/"),
        ),
        _ => frame(kind::DATA, 0, 1, &[]),
    })
    .await;
}
