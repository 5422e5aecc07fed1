//! Who speaks first, and what becomes of it: connections through memory, with time that stands still.

mod demanded;
mod permissive;
mod scene;

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::connection::early::{HTTP_GRACE, NAME_GRACE};
use crate::connection::listen::PAUSE_MAX;
use crate::table::{Speaks, Transport};
use crate::upstream::spoken::Spoke;
use scene::{Scene, hear};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
/// Some turns of the clock, which moves by a millisecond at a time.
const SOON: Duration = Duration::from_millis(10);
const GREETING: &[u8] = b"220 mail.example ESMTP\r\n";

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_server_that_speaks_first_is_heard_at_once() {
    let scene = Scene::new(Speaks::Unknown);
    let start = Instant::now();

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    server.write_all(GREETING).await.expect("room");
    assert_eq!(hear(&mut client, GREETING.len()).await, GREETING);
    client.write_all(b"QUIT\r\n").await.expect("room");
    assert_eq!(hear(&mut server, 6).await, b"QUIT\r\n");

    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(scene.spoken(), [(Spoke::ServerFirst, 1)]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_a_client_says_first_that_is_not_http_goes_where_it_was_connected_early() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    client
        .write_all(b"*1\r\n$4\r\nPING\r\n")
        .await
        .expect("room");

    assert_eq!(hear(&mut server, 14).await, b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(scene.connects(), 1);
    assert_eq!(scene.spoken(), [(Spoke::Opaque, 1)]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_was_opened_early_is_given_up_unused_if_it_becomes_http() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    client.write_all(REQUEST).await.expect("room");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");

    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(server.read(&mut [0; 1]).await.expect("an end"), 0);
    assert_eq!(scene.spoken(), [(Spoke::Http1, 1)]);
    assert_eq!(scene.requests(), 0, "nothing was sent");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_preface_of_http2_is_known_however_slowly_it_comes() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    for byte in crate::request::server::PREFACE {
        client.write_all(&[*byte]).await.expect("room");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Its settings: nobody but a server of HTTP/2 has them.
    let frame = hear(&mut client, 9).await;
    assert_eq!(frame[3], 4, "{frame:?}");
    assert_eq!(scene.spoken(), [(Spoke::Http2, 1)]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn where_http_is_expected_its_clients_cost_no_second_connection() {
    let scene = Scene::new(Speaks::Unknown);
    scene.expect(Spoke::Http1);

    let mut client = scene.connect();
    client.write_all(REQUEST).await.expect("room");
    client
        .read_to_end(&mut Vec::new())
        .await
        .expect("an answer");

    assert_eq!(scene.connects(), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn where_http_is_expected_a_silent_client_still_hears_its_server() {
    let scene = Scene::new(Speaks::Unknown);
    scene.expect(Spoke::Http2);
    let start = Instant::now();

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    assert!(start.elapsed().abs_diff(HTTP_GRACE) <= Duration::from_millis(1));
    server.write_all(GREETING).await.expect("room");

    assert_eq!(hear(&mut client, GREETING.len()).await, GREETING);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_end_is_passed_on_though_nobody_has_spoken() {
    let scene = Scene::new(Speaks::Unknown);
    let start = Instant::now();

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    client.shutdown().await.expect("an end");
    assert_eq!(server.read(&mut [0; 1]).await.expect("an end"), 0);
    server.write_all(b"12:00\n").await.expect("room");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("all of it");
    assert_eq!(answer, b"12:00\n");

    let mut client = scene.connect();
    drop(scene.accept().await);
    assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_end_in_the_middle_of_what_may_be_a_request_is_passed_on_with_it() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    client.write_all(b"HELLO").await.expect("room");
    client.shutdown().await.expect("an end");
    let mut server = scene.accept().await;
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.expect("all of it");

    assert_eq!(heard, b"HELLO");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_pause_in_what_may_be_a_request_is_not_waited_out_for_long() {
    let scene = Scene::new(Speaks::Unknown);
    let start = Instant::now();

    let mut client = scene.connect();
    client.write_all(b"HELLO").await.expect("room");
    let mut server = scene.accept().await;

    assert_eq!(hear(&mut server, 5).await, b"HELLO");
    assert!(start.elapsed().abs_diff(PAUSE_MAX) <= Duration::from_millis(1));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_silent_client_learns_soon_that_nobody_can_be_connected() {
    let scene = Scene::new(Speaks::Unknown);
    scene.refuse();
    let start = Instant::now();

    let mut client = scene.connect();
    assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);

    assert!(
        start.elapsed() < Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(scene.spoken(), [], "nobody has spoken");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn http_has_an_answer_also_when_nobody_can_be_connected() {
    let scene = Scene::new(Speaks::Unknown);
    scene.refuse();

    let mut client = scene.connect();
    client.write_all(b"GET / HT").await.expect("room");
    tokio::time::sleep(PAUSE_MAX / 2).await;
    client.write_all(&REQUEST[8..]).await.expect("room");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");

    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn where_nobody_ever_speaks_the_idle_limit_of_the_destination_ends_it() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    for second in 0.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.tick();
        let mut byte = [0; 1];
        let read = client.read(&mut byte);
        match tokio::time::timeout(Duration::from_millis(1), read).await {
            Err(_) => assert!(second < 10, "it is open still"),
            Ok(end) => {
                assert_eq!(end.expect("an end"), 0);
                assert!(second >= 2, "its limit are two seconds");
                break;
            }
        }
    }

    assert_eq!(server.read(&mut [0; 1]).await.expect("an end"), 0);
    assert_eq!(scene.open(), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_drain_does_not_wait_for_those_who_never_speak() {
    let scene = Scene::new(Speaks::Unknown);

    let mut client = scene.connect();
    let _server = scene.accept().await;
    scene.drain();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.tick();
    }

    assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_server_still_speaks_first_to_who_came_when_a_drain_had_begun() {
    let scene = Scene::new(Speaks::Unknown);
    scene.drain();

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    server.write_all(GREETING).await.expect("room");

    assert_eq!(hear(&mut client, GREETING.len()).await, GREETING);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_declared_opaque_is_not_looked_at() {
    let scene = Scene::new(Speaks::Opaque);

    let mut client = scene.connect();
    client.write_all(REQUEST).await.expect("room");
    let mut server = scene.accept().await;

    assert_eq!(hear(&mut server, REQUEST.len()).await, REQUEST);
    assert_eq!(scene.spoken(), []);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn where_a_name_may_decide_silence_is_taken_for_none_after_a_while() {
    let scene = Scene::by_name();
    let start = Instant::now();

    let mut client = scene.connect();
    let mut server = scene.accept().await;
    assert!(start.elapsed().abs_diff(NAME_GRACE) <= Duration::from_millis(1));
    server.write_all(GREETING).await.expect("room");

    assert_eq!(hear(&mut client, GREETING.len()).await, GREETING);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_waits_for_others_to_speak_is_small() {
    let scene = Scene::with(Speaks::Http, Transport::Plain);

    let (conn, looked_into) = scene.sizes();

    // What it had before it could be anything else than HTTP, and what a request that was held for the
    // control plane goes on by.
    assert!(conn <= 5_184, "{conn} bytes");
    assert!(looked_into <= 2_048, "{looked_into} bytes");
}
