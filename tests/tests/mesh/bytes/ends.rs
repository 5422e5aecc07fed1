//! How connections end: what one side did, the other side sees, and no error looks like an orderly end.

use std::io::ErrorKind;

use tests::authority::Authority;
use tests::eventually;
use tests::gateway::{Files, connect_to};

use super::*;

/// Far more than all sockets and pipes between two sides hold.
const MUCH: usize = 256 * 1024 * 1024;
/// What they hold at most.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Looks at a connection that takes nothing, until it is believed.
const STUCK_LOOKS: usize = 30;

async fn closed(proxy: &Proxy, flag: &str) {
    let labels = [("response_flags", flag)];
    let closed = async || counted(proxy, "connections_closed", &labels).await;
    eventually("it is counted", closed, |closed| *closed == 1.0).await;
}

#[track_caller]
fn assert_reset(read: std::io::Result<usize>) {
    let kind = read.expect_err("no orderly end").kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_of_the_client_is_a_reset_for_the_origin() {
    let passing = Passing::start().await;
    let (client, mut origin) = passing.pair().await;

    reset(client);

    assert_reset(soon("an end", origin.read(&mut [0])).await);
    closed(&passing.proxy, "DC").await;
}

#[tokio::test]
async fn a_reset_of_the_origin_is_a_reset_for_a_client_that_was_done() {
    let passing = Passing::start().await;
    let (mut client, mut origin) = passing.pair().await;
    client.shutdown().await.expect("an end");
    assert_eq!(
        soon("the end", origin.read(&mut [0]))
            .await
            .expect("an end"),
        0
    );

    reset(origin);

    assert_reset(soon("an end", client.read(&mut [0])).await);
    closed(&passing.proxy, "UC").await;
}

#[tokio::test]
async fn a_client_that_goes_after_its_last_word_is_noticed_before_the_origin_answers() {
    let passing = Passing::start().await;
    let (mut client, mut origin) = passing.pair().await;
    client.shutdown().await.expect("an end");
    assert_eq!(
        soon("the end", origin.read(&mut [0]))
            .await
            .expect("an end"),
        0
    );

    reset(client);

    closed(&passing.proxy, "DC").await;
    let is_reset = async || {
        let written = origin.try_write(b"late").map_err(|error| error.kind());
        matches!(
            written,
            Err(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
        )
    };
    eventually("a reset at the origin", is_reset, |is_reset| *is_reset).await;
}

/// Sends until nothing is taken any more, and says how much was.
async fn stuff(tcp: &TcpStream) -> usize {
    let piece = vec![7; 1024 * 1024];
    let (mut taken, mut looks) = (0, 0);
    while looks < STUCK_LOOKS && taken < MUCH {
        match tcp.try_write(&piece) {
            Ok(written) => {
                taken += written;
                looks = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                looks += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    taken
}

#[tokio::test]
async fn a_reader_that_takes_nothing_stops_the_sender_and_loses_nothing() {
    let passing = Passing::start().await;
    let (client, mut origin) = passing.pair().await;

    let taken = stuff(&client).await;
    assert!(taken < HELD_BYTES_MAX, "{taken} bytes were taken");
    drop(client);

    let mut all = Vec::new();
    let read = soon("all of it", origin.read_to_end(&mut all)).await;
    read.expect("an orderly end");
    assert_eq!(all.len(), taken);
    assert!(all.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_side_takes_nothing() {
    let passing = Passing::start().await;
    let (client, origin) = passing.pair().await;
    stuff(&client).await;

    reset(client);

    closed(&passing.proxy, "DC").await;
    drop(origin);
}

/// A client of a gateway that ends TLS, and the plain side of its connection.
async fn secured(files: &Files) -> (Proxy, tokio_rustls::client::TlsStream<TcpStream>, TcpStream) {
    let authority = Authority::new("own.test");
    let (listener, addr) = listen().await;
    let (port, proxy) = super::every_byte::ending(files, &authority, addr, "").await;
    let config = nobody(&[], &[&TLS13, &TLS12]);
    let client = connect_to(port.addr(), HOST, config).await;
    let client = client.expect("a handshake");
    (proxy, client, accept(&listener).await)
}

#[tokio::test]
async fn tls_that_is_cut_off_is_a_reset_for_the_origin() {
    let files = Files::new();
    let (proxy, mut client, mut origin) = secured(&files).await;
    client.write_all(b"half").await.expect("room");
    client.flush().await.expect("room");
    let mut half = [0; 4];
    let read = soon("bytes", origin.read_exact(&mut half)).await;
    read.expect("as they were sent");

    // The end of the connection, and not of TLS.
    let (tcp, _) = client.get_mut();
    tcp.shutdown().await.expect("an end");

    assert_reset(soon("an end", origin.read(&mut half)).await);
    closed(&proxy, "DC").await;
}

#[tokio::test]
async fn a_reset_of_the_origin_does_not_look_like_the_end_of_tls() {
    let files = Files::new();
    let (proxy, mut client, mut origin) = secured(&files).await;
    // A connection that ends before it is seen to be open was never connected.
    client.write_all(b"x").await.expect("room");
    client.flush().await.expect("room");
    let read = soon("a byte", origin.read_u8()).await;
    assert_eq!(read.expect("as it was sent"), b'x');

    reset(origin);

    let read = soon("an end", client.read(&mut [0])).await;
    read.expect_err("no orderly end");
    closed(&proxy, "UC").await;
}

#[tokio::test]
async fn a_reset_of_the_client_in_tls_is_noticed_while_the_origin_takes_nothing() {
    let files = Files::new();
    let (proxy, mut client, origin) = secured(&files).await;
    let piece = vec![7; 1024 * 1024];
    // It blocks once nothing is taken any more.
    let stuffing = async {
        for _ in 0..MUCH / piece.len() {
            client.write_all(&piece).await.expect("room");
        }
    };
    let stuck = tokio::time::timeout(Duration::from_secs(2), stuffing).await;
    stuck.expect_err("nobody reads");
    let (tcp, _) = client.into_inner();

    reset(tcp);

    closed(&proxy, "DC").await;
    drop(origin);
}
