//! Both directions between sockets of the system.

use std::io::ErrorKind;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::*;

/// Far more than sockets hold between two that do not read.
const MUCH: usize = 24 * 1024 * 1024;

/// A client, an origin, and what carries between their sockets.
struct Wires<C, O> {
    client: C,
    origin: O,
    carried: JoinHandle<Carried>,
    carrier: Rc<Carrier>,
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (near.expect("a listener"), far.expect("a client").0)
}

fn carried<C, O>((client, near): (C, Io), (origin, far): (O, Io)) -> Wires<C, O> {
    let drain = Rc::new(Drain::default());
    let mut ticket = drain.enter(&Bind::Tcp(([127, 0, 0, 1], 1).into()));
    let carrier = Rc::new(Carrier::default());
    let shared = Rc::clone(&carrier);
    let carried = spawn_local(async move {
        let (mut near, mut far) = (near, far);
        let terms = Terms {
            carrier: &shared,
            ticket: &mut ticket,
            limits: FOREVER,
        };
        let near = (&mut near, BytesMut::new());
        let far = (&mut far, BytesMut::new());
        carry(near, far, terms, pending(), |_, _| {}).await
    });
    Wires {
        client,
        origin,
        carried,
        carrier,
    }
}

async fn wires() -> Wires<TcpStream, TcpStream> {
    let (client, near) = tcp().await;
    let (far, origin) = tcp().await;
    carried((client, Io::Tcp(near)), (origin, Io::Tcp(far)))
}

#[tokio::test(flavor = "local")]
async fn what_is_cut_off_looks_like_no_orderly_end() {
    let mut wires = wires().await;
    wires.client.write_all(b"question").await.expect("room");
    let mut question = [0; 8];
    let read = wires.origin.read_exact(&mut question).await;
    read.expect("it is carried");

    wires.carried.abort();

    for io in [&mut wires.client, &mut wires.origin] {
        let error = io.read(&mut [0; 1]).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Bytes of which no part looks like another.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

fn reset(io: TcpStream) {
    SockRef::from(&io)
        .set_linger(Some(Duration::ZERO))
        .expect("an option");
}

/// Sends until nothing is taken any more for a while of turns.
async fn stuff(io: &TcpStream) {
    let block = vec![1; 1 << 20];
    let mut stuck = 0;
    while stuck < 50 {
        match io.try_write(&block) {
            Ok(_) => stuck = 0,
            Err(_) => stuck += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn exchange<C, O>(mut wires: Wires<C, O>)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    O: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (up, down) = (bytes(1, MUCH), bytes(2, MUCH + 1));
    let (expected_up, expected_down) = (up.clone(), down.clone());
    let client = spawn_local(async move {
        let (mut read, mut write) = tokio::io::split(wires.client);
        let sending = spawn_local(async move {
            write.write_all(&up).await.expect("taken");
            write.shutdown().await.expect("an end");
        });
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.expect("an orderly end");
        sending.await.expect("no panic");
        all
    });
    let mut got_up = Vec::new();
    let (mut read, mut write) = tokio::io::split(&mut wires.origin);
    let sending = async {
        write.write_all(&down).await.expect("taken");
        write.shutdown().await.expect("an end");
    };
    let (read, ()) = tokio::join!(read.read_to_end(&mut got_up), sending);

    read.expect("an orderly end");
    assert!(got_up == expected_up, "every byte went up");
    let got_down = client.await.expect("no panic");
    assert!(got_down == expected_down, "every byte came down");
    let carried = wires.carried.await.expect("no panic");
    assert!(carried.ended.is_ok(), "{:?}", carried.ended);
    assert_eq!(
        (carried.up, carried.down),
        (MUCH as u64, MUCH as u64 + 1),
        "counted to the byte"
    );
    assert_eq!(wires.carrier.pipes.lent(), 0, "all were given back");
    assert!(wires.carrier.pipes.kept() > 0, "it was spliced");
}

#[tokio::test(flavor = "local")]
async fn much_goes_both_ways_at_once_over_tcp() {
    exchange(wires().await).await;
}

#[tokio::test(flavor = "local")]
async fn much_goes_both_ways_at_once_to_a_unix_socket() {
    let (client, near) = tcp().await;
    let (far, origin) = UnixStream::pair().expect("two sockets");
    exchange(carried((client, Io::Tcp(near)), (origin, Io::Unix(far)))).await;
}

#[tokio::test(flavor = "local")]
async fn questions_and_answers_need_no_pipe() {
    let mut wires = wires().await;

    for round in 0..100_u8 {
        let mut got = [0; 300];
        wires.client.write_all(&[round; 300]).await.expect("open");
        wires.origin.read_exact(&mut got).await.expect("all of it");
        assert_eq!(got, [round; 300]);
        wires.origin.write_all(&got).await.expect("open");
        wires.client.read_exact(&mut got).await.expect("all of it");
    }

    assert_eq!(
        (wires.carrier.pipes.lent(), wires.carrier.pipes.kept()),
        (0, 0)
    );
}

#[tokio::test(flavor = "local")]
async fn a_reset_comes_through_in_both_directions() {
    let Wires {
        client,
        mut origin,
        carried,
        ..
    } = wires().await;
    reset(client);
    let read = origin.read(&mut [0]).await;
    let kind = read.expect_err("no orderly end").kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
    let ended = carried.await.expect("no panic").ended;
    assert!(matches!(ended, Err(Broken::Near(_))), "{ended:?}");

    let Wires {
        mut client,
        origin,
        carried,
        ..
    } = wires().await;
    reset(origin);
    let read = client.read(&mut [0]).await;
    let kind = read.expect_err("no orderly end").kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
    let ended = carried.await.expect("no panic").ended;
    assert!(matches!(ended, Err(Broken::Far(_))), "{ended:?}");
}

#[tokio::test(flavor = "local")]
async fn a_reset_is_noticed_while_the_other_side_takes_nothing() {
    let Wires {
        client,
        origin,
        carried,
        carrier,
    } = wires().await;
    stuff(&client).await;

    reset(client);

    let ended = carried.await.expect("no panic").ended;
    assert!(matches!(ended, Err(Broken::Near(_))), "{ended:?}");
    assert_eq!(carrier.pipes.lent(), 0);
    assert_eq!(
        carrier.pipes.kept(),
        0,
        "a pipe with bytes of one connection serves no other"
    );
    drop(origin);
}

#[tokio::test(flavor = "local")]
async fn a_reset_after_a_half_close_is_noticed() {
    let Wires {
        mut client,
        mut origin,
        carried,
        ..
    } = wires().await;
    client.shutdown().await.expect("an end");
    assert_eq!(origin.read(&mut [0]).await.expect("an end"), 0);

    reset(client);

    let ended = carried.await.expect("no panic").ended;
    assert!(matches!(ended, Err(Broken::Near(_))), "{ended:?}");
    let read = origin.read(&mut [0]).await;
    assert!(!matches!(read, Ok(1..)), "nothing more came: {read:?}");
}

#[tokio::test(flavor = "local")]
async fn who_reads_slowly_slows_the_sender() {
    let wires = wires().await;
    stuff(&wires.client).await;

    let held = wires.carrier.pipes.lent();

    assert!(held <= 1, "one direction holds one pipe: {held}");
    wires.carried.abort();
}
