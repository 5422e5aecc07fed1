//! Connections that are not HTTP: every byte, every end, who is told of whom, and what is told of them.

mod ends;
mod every_byte;
mod proxy_protocol;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use socket2::SockRef;
use tests::authority::nobody;
use tests::gateway::{Server, gateway};
use tests::yaml::Service;
use tests::{Port, Proxy, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const HOST: &str = "one.test";

/// What begins a connection in TLS that asks for [`HOST`]. Who lets TLS pass looks at nothing else, so
/// that anything can follow.
fn greeting() -> Vec<u8> {
    let config = Arc::new(nobody(&[], &[&TLS13, &TLS12]));
    let name = ServerName::try_from(HOST).expect("a name");
    let mut session = ClientConnection::new(config, name).expect("a session");
    let mut greeting = Vec::new();
    session.write_tls(&mut greeting).expect("room");
    greeting
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (listener, addr)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let accepted = soon("a connection", listener.accept()).await;
    let (tcp, _) = accepted.expect("it comes");
    tcp.set_nodelay(true).expect("an option");
    tcp
}

/// Makes the close of a connection a reset.
fn reset(tcp: TcpStream) {
    let linger = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    linger.expect("an option");
}

/// A gateway that lets TLS for [`HOST`] pass to an origin: plain sockets on both sides.
struct Passing {
    port: Port,
    proxy: Proxy,
    listener: TcpListener,
    greeting: Vec<u8>,
}

impl Passing {
    async fn start() -> Self {
        Self::start_with("", &[]).await
    }

    /// The same with more documents and arguments.
    async fn start_with(documents: &str, arguments: &[&str]) -> Self {
        let (listener, addr) = listen().await;
        let port = Port::reserve();
        let yaml = passing_to(&port, &[addr]) + documents;
        let proxy = Proxy::start_with(&yaml, arguments).await;
        Self {
            port,
            proxy,
            listener,
            greeting: greeting(),
        }
    }

    /// A connection through the proxy, at its client and at its origin.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.port.addr()).await;
        let mut client = client.expect("a listener");
        client.set_nodelay(true).expect("an option");
        client.write_all(&self.greeting).await.expect("room");
        let mut origin = accept(&self.listener).await;
        let mut passed = vec![0; self.greeting.len()];
        let read = soon("a greeting", origin.read_exact(&mut passed)).await;
        read.expect("as it was sent");
        assert_eq!(passed, self.greeting);
        (client, origin)
    }
}

/// A gateway that lets TLS for [`HOST`] pass to these origins.
fn passing_to(port: &Port, origins: &[SocketAddr]) -> String {
    let server = Server {
        host: HOST,
        protocol: "TLS",
        tls: "mode: PASSTHROUGH".to_owned(),
    };
    let service = Service::new(HOST).protocol("TLS");
    let service = origins.iter().fold(service, |service, it| service.at(*it));
    gateway(port, &[server])
        + &service.to_string()
        + &format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  tls:
  - match: [{{sniHosts: [{HOST}]}}]
    route: [{{destination: {{host: {HOST}}}}}]
---
"
        )
}

/// A `DestinationRule` of [`HOST`] with this `trafficPolicy`.
fn policy(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: one}}
spec:
  host: {HOST}
  trafficPolicy: {{{policy}}}
---
"
    )
}

/// The value of a counter of connections.
async fn counted(proxy: &Proxy, name: &str, labels: &[(&str, &str)]) -> f64 {
    let metrics = proxy.metrics().await;
    metrics.sum(&format!("istio_tcp_{name}_total"), labels)
}
