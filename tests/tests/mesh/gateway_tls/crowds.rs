//! Clients that open connections and say nothing shut nobody out.

use std::net::SocketAddr;

use tests::gateway::{Files, Server, gateway};
use tests::{Authority, eventually};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// Handshakes of a worker at once, and some more.
const CONNECTIONS: usize = 4_096 + 600;

async fn connect_from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((host, 0)))
        .expect("an address of this host");
    soon("a connection", socket.connect(to))
        .await
        .expect("a listener")
}

#[tokio::test]
async fn idle_connections_of_one_address_give_way_to_whoever_comes() {
    let own = Authority::new("own.test");
    let (files, port) = (Files::new(), Port::reserve());
    let origin = Origin::named("app").await;
    let pair = files.pair("any", &own.leaf_named(&[], &["app.test"]).sign());
    let server = Server {
        host: "app.test",
        protocol: "HTTPS",
        tls: format!("mode: SIMPLE, {pair}"),
    };
    let yaml = gateway(&port, &[server]) + &routes("app.test", &origin);
    let proxy = Proxy::start_with(&yaml, &["--workers", "1"]).await;

    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        idle.push(connect_from([127, 0, 0, 2], port.addr()).await);
    }

    let answer = ask(&port, "app.test", "app.test", anonymous()).await;
    assert_eq!(answer, Some(200));
    let given_up = async || rejections(&proxy, "tls_too_many_handshakes").await;
    eventually("some were given up", given_up, |it| *it >= 1.0).await;
}
