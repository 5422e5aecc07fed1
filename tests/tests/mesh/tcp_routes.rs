//! Connections that are not HTTP by the rules of resources: at gateways, and at listeners of a `Sidecar`
//! to which applications connect by themselves.

use std::net::SocketAddr;

use tests::{Port, Proxy, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server that says its name first, as databases do, and then echoes.
async fn server_first(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                if tcp.write_all(name.as_bytes()).await.is_ok() {
                    let (mut read, mut write) = tcp.split();
                    // Whoever goes away ends it.
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
        }
    });
    addr
}

/// Who answers at `addr` before the client says a word, and whether bytes come back.
async fn greeted(addr: SocketAddr) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(addr).await?;
    let mut name = [0; 5];
    tcp.read_exact(&mut name).await?;
    tcp.write_all(b"ping").await?;
    let mut back = [0; 4];
    tcp.read_exact(&mut back).await?;
    assert_eq!(&back, b"ping");
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// A service that speaks TCP at a port of its own.
fn service(name: &str, number: u16, addr: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  resolution: STATIC
  ports: [{{number: {number}, name: tcp, protocol: TCP, targetPort: {}}}]
  endpoints: [{{address: {}}}]
---
",
        addr.port(),
        addr.ip()
    )
}

#[tokio::test]
async fn a_gateway_carries_tcp_by_port_and_network() {
    let (one, two) = (server_first("one  ").await, server_first("two  ").await);
    let port = Port::reserve();
    let yaml = service("one", 1000, one)
        + &service("two", 1000, two)
        + &format!(
            "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  servers: [{{hosts: ['*'], bind: 0.0.0.0, port: {{name: tcp, number: {port}, protocol: TCP}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tcp}}
spec:
  hosts: ['*']
  gateways: [edge]
  tcp:
  - match: [{{port: {port}, destinationSubnets: [127.0.0.2/32]}}]
    route: [{{destination: {{host: two.test}}}}]
  - match: [{{port: {port}}}]
    route: [{{destination: {{host: one.test}}}}]
"
        );
    let proxy = Proxy::start(&yaml).await;

    let at = |ip: [u8; 4]| SocketAddr::from((ip, port.addr().port()));
    assert_eq!(greeted(at([127, 0, 0, 1])).await.expect("one"), "one  ");
    assert_eq!(greeted(at([127, 0, 0, 2])).await.expect("two"), "two  ");

    let labels = [
        ("destination_service", "two.test"),
        ("request_protocol", "tcp"),
    ];
    let opened = async || {
        let metrics = proxy.metrics().await;
        metrics.sum("istio_tcp_connections_opened_total", &labels)
    };
    eventually("a connection", opened, |opened| *opened == 1.0).await;
}

#[tokio::test]
async fn listeners_of_a_sidecar_carry_tcp_both_ways() {
    let (db, own) = (server_first("db   ").await, server_first("own  ").await);
    let (out, back) = (Port::reserve(), Port::reserve());
    let number = out.addr().port();
    let yaml = service("db", number, db)
        + &format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  egress:
  - port: {{number: {number}, name: tcp, protocol: TCP}}
    captureMode: NONE
    hosts: ['./*']
  ingress:
  - port: {{number: {back}, name: tcp-own, protocol: TCP}}
    bind: 127.0.0.1
    defaultEndpoint: {own}
"
        );
    let _proxy = Proxy::start(&yaml).await;

    assert_eq!(greeted(out.addr()).await.expect("out"), "db   ");
    assert_eq!(greeted(back.addr()).await.expect("in"), "own  ");
}
