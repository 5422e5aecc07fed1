//! Whatever is sent arrives, whatever is between, and its end with it: in random pieces, with pauses,
//! in both directions at once, by readers who take their time.

use tests::authority::Authority;
use tests::gateway::{Files, connect_to};
use tests::yaml;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Connections of each kind, one after another.
const ROUNDS: u64 = 6;
/// Most bytes of one direction.
const BYTES_MAX: usize = 6 * 1024 * 1024;
/// Most bytes of one write, and of one read.
const PIECE_BYTES_MAX: usize = 256 * 1024;
/// One piece of so many is followed by a pause.
const PAUSE_EVERY: usize = 16;

/// How many bytes there were, and which.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    bytes: usize,
    hash: u64,
}

impl Sum {
    /// FNV-1a over eight bytes at a time would depend on how they are cut; one at a time does not.
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

async fn pause(rng: &mut fastrand::Rng) {
    if rng.usize(..PAUSE_EVERY) == 0 {
        tokio::time::sleep(Duration::from_micros(rng.u64(..3_000))).await;
    }
}

/// Sizes are small for the most part, as those of questions and answers are.
fn piece(rng: &mut fastrand::Rng) -> usize {
    let most = match rng.u8(..4) {
        0 => PIECE_BYTES_MAX,
        1 => 20_000,
        _ => 500,
    };
    rng.usize(1..=most)
}

/// Sends what `seed` says, and the end.
async fn send(seed: u64, mut to: WriteHalf<impl AsyncWrite>) -> Sum {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut left = match rng.u8(..4) {
        0 => 0,
        1 => rng.usize(..1_000),
        _ => rng.usize(..BYTES_MAX),
    };
    let mut sum = Sum::default();
    let mut bytes = vec![0; PIECE_BYTES_MAX];
    while left > 0 {
        let len = piece(&mut rng).min(left);
        rng.fill(&mut bytes[..len]);
        sum.add(&bytes[..len]);
        to.write_all(&bytes[..len]).await.expect("it is taken");
        to.flush().await.expect("it is taken");
        left -= len;
        pause(&mut rng).await;
    }
    to.shutdown().await.expect("an end");
    sum
}

/// Takes all there is, up to an orderly end.
async fn take(seed: u64, mut from: ReadHalf<impl AsyncRead>) -> Sum {
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut sum = Sum::default();
    let mut bytes = vec![0; PIECE_BYTES_MAX];
    loop {
        let most = piece(&mut rng);
        let read = from.read(&mut bytes[..most]).await.expect("an orderly end");
        if read == 0 {
            return sum;
        }
        sum.add(&bytes[..read]);
        pause(&mut rng).await;
    }
}

/// Sends and takes at both ends at once.
async fn exchange(
    seed: u64,
    client: impl AsyncRead + AsyncWrite + Send + 'static,
    origin: impl AsyncRead + AsyncWrite + Send + 'static,
) {
    let (client_reads, client_writes) = split(client);
    let (origin_reads, origin_writes) = split(origin);
    let all = async {
        tokio::join!(
            tokio::spawn(send(2 * seed, client_writes)),
            tokio::spawn(take(2 * seed, origin_reads)),
            tokio::spawn(send(2 * seed + 1, origin_writes)),
            tokio::spawn(take(2 * seed + 1, client_reads)),
        )
    };
    let (up, up_taken, down, down_taken) = soon("all of it", all).await;
    assert_eq!(up.expect("sent"), up_taken.expect("taken"), "up, {seed}");
    assert_eq!(
        down.expect("sent"),
        down_taken.expect("taken"),
        "down, {seed}"
    );
}

#[tokio::test]
async fn between_plain_sockets() {
    let passing = Passing::start().await;

    for seed in 0..ROUNDS {
        let (client, origin) = passing.pair().await;
        exchange(seed, client, origin).await;
    }
}

#[tokio::test]
async fn between_many_plain_sockets_at_once() {
    let passing = Passing::start().await;
    let mut open = Vec::new();
    for seed in 100..140 {
        let (client, origin) = passing.pair().await;
        open.push(tokio::spawn(exchange(seed, client, origin)));
    }

    for exchange in open {
        exchange.await.expect("every byte");
    }
}

/// A gateway that ends TLS for [`HOST`], what is inside going to `origin`.
pub(super) async fn ending(
    files: &Files,
    authority: &Authority,
    origin: SocketAddr,
    more: &str,
) -> (Port, Proxy) {
    let port = Port::reserve();
    let signed = authority.leaf_named(&[], &[HOST]).sign();
    let server = Server {
        host: HOST,
        protocol: "TLS",
        tls: format!("mode: SIMPLE, {}", files.pair("one", &signed)),
    };
    let yaml = gateway(&port, &[server])
        + &Service::new(HOST).protocol("TCP").at(origin).to_string()
        + &format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  tcp:
  - route: [{{destination: {{host: {HOST}}}}}]
---
"
        )
        + more;
    let proxy = Proxy::start(&yaml).await;
    (port, proxy)
}

#[tokio::test]
async fn from_tls_to_a_plain_socket() {
    let (files, authority) = (Files::new(), Authority::new("own.test"));
    let (listener, addr) = listen().await;
    let (port, _proxy) = ending(&files, &authority, addr, "").await;

    for seed in 200..200 + ROUNDS {
        let config = nobody(&[], &[&TLS13, &TLS12]);
        let client = connect_to(port.addr(), HOST, config).await;
        let client = client.expect("a handshake");
        exchange(seed, client, accept(&listener).await).await;
    }
}

#[tokio::test]
async fn from_tls_to_tls() {
    let (files, authority) = (Files::new(), Authority::new("own.test"));
    let (listener, addr) = listen().await;
    let tls = policy("tls: {mode: SIMPLE, insecureSkipVerify: true}");
    let (port, _proxy) = ending(&files, &authority, addr, &tls).await;
    let own = authority.leaf_named(&[], &[HOST]).sign();
    let acceptor = TlsAcceptor::from(own.server(&[]));

    for seed in 300..300 + ROUNDS {
        let config = nobody(&[], &[&TLS13, &TLS12]);
        let client = connect_to(port.addr(), HOST, config);
        let origin = async { acceptor.accept(accept(&listener).await).await };
        let (client, origin) = tokio::join!(client, origin);
        let (client, origin) = (client.expect("a handshake"), origin.expect("a handshake"));
        exchange(seed, client, origin).await;
    }
}

#[tokio::test]
async fn from_a_plain_socket_to_tls() {
    let authority = Authority::new("own.test");
    let (listener, addr) = listen().await;
    let port = Port::reserve();
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let documents = yaml::gateway(&port)
        + &Service::new(HOST).at(addr).to_string()
        + &yaml::routes(HOST, &rules)
        + &policy("tls: {mode: SIMPLE, insecureSkipVerify: true}");
    let _proxy = Proxy::start(&documents).await;
    let own = authority.leaf_named(&[], &[HOST]).sign();
    let acceptor = TlsAcceptor::from(own.server(&["http/1.1"]));
    let ask = format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: x\r\n\r\n"
    );
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                   upgrade: websocket\r\n\r\n";

    for seed in 400..400 + ROUNDS {
        let client = TcpStream::connect(port.addr()).await;
        let mut client = client.expect("a listener");
        client.write_all(ask.as_bytes()).await.expect("room");
        let origin = acceptor.accept(accept(&listener).await).await;
        let mut origin = origin.expect("a handshake");
        head(&mut origin).await;
        origin.write_all(switch).await.expect("room");
        origin.flush().await.expect("room");
        assert!(head(&mut client).await.starts_with(b"HTTP/1.1 101 "));
        exchange(seed, client, origin).await;
    }
}

/// Reads a head, and not a byte more.
async fn head(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon("a head", from.read_u8()).await;
        head.push(byte.expect("a whole head"));
    }
    head
}
