//! Both directions in memory, with paused time.

mod sockets;

use std::future::pending;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::spawn_local;

use super::*;
use crate::drain::Drain;
use crate::table::Bind;

const FOREVER: TcpLimits = TcpLimits {
    idle: None,
    age: None,
};

/// A client, an origin, and what carries between them.
struct Scene {
    drain: Rc<Drain>,
    client: DuplexStream,
    origin: DuplexStream,
    carried: tokio::task::JoinHandle<(Carried, u64)>,
}

fn scene(limits: TcpLimits, near_read: &'static [u8]) -> Scene {
    let drain = Rc::new(Drain::default());
    let mut ticket = drain.enter(&Bind::Tcp(([127, 0, 0, 1], 1).into()));
    let (client, near) = duplex(64);
    let (origin, far) = duplex(64);
    let carried = spawn_local(async move {
        let (mut near, mut far) = (Io::Memory(near), Io::Memory(far));
        let mut told = 0;
        let near = (&mut near, BytesMut::from(near_read));
        let far = (&mut far, BytesMut::new());
        let carrier = Carrier::default();
        let terms = Terms {
            carrier: &carrier,
            ticket: &mut ticket,
            limits,
        };
        let carried = carry(near, far, terms, pending(), |up, down| {
            told += up + down;
        })
        .await;
        (carried, told)
    });
    Scene {
        drain,
        client,
        origin,
        carried,
    }
}

#[tokio::test(flavor = "local")]
async fn bytes_go_both_ways_and_each_end_is_passed_on_alone() {
    let mut scene = scene(FOREVER, b"first ");
    scene.client.write_all(b"question").await.expect("room");
    scene.client.shutdown().await.expect("an end");

    let mut question = String::new();
    let read = scene.origin.read_to_string(&mut question).await;
    read.expect("all of it, and the end");
    assert_eq!(question, "first question");
    scene.origin.write_all(b"answer").await.expect("room");
    scene.origin.shutdown().await.expect("an end");
    let mut answer = String::new();
    let read = scene.client.read_to_string(&mut answer).await;
    read.expect("all of it, and the end");

    assert_eq!(answer, "answer");
    let (carried, told) = scene.carried.await.expect("no panic");
    assert!(carried.ended.is_ok(), "{:?}", carried.ended);
    assert_eq!((carried.up, carried.down, told), (14, 6, 20));
}

#[tokio::test(flavor = "local")]
async fn what_does_not_fit_waits_for_room() {
    let mut scene = scene(FOREVER, b"");
    let sent = vec![7; 10_000];
    let sending = sent.clone();
    let mut client = scene.client;
    let writing = spawn_local(async move {
        client.write_all(&sending).await.expect("taken in time");
        client
    });

    let mut received = vec![0; sent.len()];
    let read = scene.origin.read_exact(&mut received).await;
    read.expect("all of it");

    assert_eq!(received, sent);
    drop(writing.await.expect("no panic"));
    drop(scene.origin);
    let (carried, _) = scene.carried.await.expect("no panic");
    assert_eq!(carried.up, 10_000);
}

#[tokio::test(flavor = "local")]
async fn silence_ends_it_and_bytes_put_that_off() {
    let limits = TcpLimits {
        idle: Some(Duration::from_secs(2)),
        age: None,
    };
    let mut scene = scene(limits, b"");
    for _ in 0..10 {
        scene.drain.tick();
        scene.client.write_all(b"x").await.expect("it is open");
        let mut byte = [0];
        scene.origin.read_exact(&mut byte).await.expect("a byte");
    }
    assert!(!scene.carried.is_finished());

    for _ in 0..3 {
        scene.drain.tick();
        tokio::task::yield_now().await;
    }

    let (carried, _) = scene.carried.await.expect("no panic");
    assert!(matches!(carried.ended, Err(Broken::Idle)));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_too_old_ends_however_busy_it_is() {
    let limits = TcpLimits {
        idle: Some(Duration::from_secs(3_600)),
        age: Some(Duration::from_secs(5)),
    };
    let mut scene = scene(limits, b"");
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        scene.drain.tick();
        scene.client.write_all(b"x").await.expect("it is open");
        let mut byte = [0];
        scene.origin.read_exact(&mut byte).await.expect("a byte");
    }

    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        scene.drain.tick();
        tokio::task::yield_now().await;
    }

    let (carried, _) = scene.carried.await.expect("no panic");
    assert!(matches!(carried.ended, Err(Broken::Aged)));
}
