//! Connections that begin with a header, or ought to.

use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn nothing_is_read_beyond_a_header() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let mut client = TcpStream::connect(addr).await.expect("a listener");
    let (accepted, _) = listener.accept().await.expect("a client");
    let mut io = Io::Tcp(accepted);
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    client.write_all(header).await.expect("it is open");
    client.write_all(b"rest\n").await.expect("it is open");

    let said = read(&mut io).await.expect("a header").expect("addresses");

    assert_eq!(said.source, "192.0.2.1:56324".parse().expect("an address"));
    let mut rest = [0; 5];
    io.read_exact(&mut rest).await.expect("what follows");
    assert_eq!(&rest, b"rest\n");
}

#[tokio::test]
async fn a_header_may_come_in_pieces() {
    let (mut client, io) = duplex(4);
    let mut io = Io::Memory(io);
    let sending = async {
        let header = b"PROXY TCP6 ::1 ::2 1 2\r\nx";
        client.write_all(header).await.expect("it is open");
    };

    let (said, ()) = tokio::join!(read(&mut io), sending);

    let said = said.expect("a header").expect("addresses");
    assert_eq!(said.destination, "[::2]:2".parse().expect("an address"));
    assert_eq!(io.read_u8().await.expect("what follows"), b'x');
}

#[tokio::test]
async fn an_end_within_a_header_is_no_header() {
    let (mut client, io) = duplex(64);
    client.write_all(b"PROXY TCP4 1.2.3.4").await.expect("open");
    drop(client);

    let error = read(&mut Io::Memory(io)).await.expect_err("an end");

    assert_eq!(error.cause(), "proxy_protocol_incomplete");
}

#[test]
fn only_who_is_named_is_asked_for_a_header() {
    assert!(Balancers::new(&[]).is_none());
    let networks = ["10.0.0.0/8".parse().expect("a network")];
    let balancers = Balancers::new(&networks).expect("some");

    let trust = |peer: &str| balancers.trust(peer.parse().ok());
    assert!(trust("10.1.2.3:1"));
    assert!(trust("[::ffff:10.1.2.3]:1"));
    assert!(!trust("11.0.0.1:1"));
    assert!(!trust("a Unix socket"));
}
