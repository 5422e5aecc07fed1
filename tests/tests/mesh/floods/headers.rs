//! Blocks of headers that never end, or are larger than they look.

use tests::RawHttp2;
use tests::frames::{block, code, flag, frame, get, indexed, kind, literal};

use super::{ATTACKERS, HOST, Scene, stream};

const FRAMES: u32 = 20_000;
/// `:status: 431` of HPACK: the name of the static table and the value as Huffman code or not.
const NAME_OF_STATUS: u8 = 0x08;

async fn is_ended(cause: &str, frames: impl Fn(u32) -> Vec<u8> + Send + Clone + 'static) {
    let scene = Scene::begin().await;

    let farewells = scene.attack(FRAMES, frames).await;

    assert_eq!(farewells, [Some(code::ENHANCE_YOUR_CALM); ATTACKERS]);
    assert_eq!(scene.rejections(cause).await, ATTACKERS as f64);
    scene.end().await;
}

#[tokio::test]
async fn a_block_of_endless_continuations_is_ended() {
    is_ended("http2_continuations", |number| match number {
        0 => frame(kind::HEADERS, 0, 1, &[]),
        _ => frame(kind::CONTINUATION, 0, 1, &[]),
    })
    .await;
}

#[tokio::test]
async fn a_block_of_endless_headers_is_ended() {
    let value = "x".repeat(15_000);
    is_ended("http2_continuations", move |number| match number {
        0 => frame(kind::HEADERS, 0, 1, &block(HOST, "/")),
        _ => frame(kind::CONTINUATION, 0, 1, &literal("x-long", &value)),
    })
    .await;
}

#[tokio::test]
async fn a_small_block_that_unfolds_to_megabytes_is_ended() {
    let value = "x".repeat(4_000);
    is_ended("http2_excess", move |number| {
        // The entry is the newest of the dynamic table, which begins at 62.
        let bomb = [
            block(HOST, "/"),
            indexed("x-bomb", &value),
            vec![0x80 | 62; 12_000],
        ]
        .concat();
        let flags = flag::END_HEADERS | flag::END_STREAM;
        frame(kind::HEADERS, flags, stream(number), &bomb)
    })
    .await;
}

#[tokio::test]
async fn headers_beyond_the_limit_get_431_and_the_connection_stays() {
    let scene = Scene::begin().await;
    let mut raw = RawHttp2::connect(scene.addr(), &[]).await;

    let value = "x".repeat(4_000);
    let large = [
        block(HOST, "/"),
        indexed("x-large", &value),
        vec![0x80 | 62; 20],
    ]
    .concat();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    assert!(raw.send(&frame(kind::HEADERS, flags, 1, &large)).await);
    let seen = raw
        .until("an answer", |seen| seen.heads.contains_key(&1))
        .await;

    let head = &seen.heads[&1];
    assert!(
        head[0] & 0x0f == NAME_OF_STATUS || head[0] == 0x48,
        "{head:x?}"
    );
    assert_eq!(seen.farewell, None);
    assert!(raw.send(&get(3, HOST, "/")).await);
    let seen = raw
        .until("an answer", |seen| seen.heads.contains_key(&3))
        .await;
    // `:status: 200` is entry 8 of the static table.
    assert_eq!(seen.heads[&3][0], 0x88, "{:x?}", seen.heads[&3]);
    drop(raw);
    scene.end().await;
}
