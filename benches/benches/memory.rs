//! Client, proxy and upstream on one thread, joined by pipes in memory.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use config::mesh::{Mesh, MeshSettings};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proxy::connection::connection;
use proxy::io::Io;
use proxy::request::Downstream;
use proxy::snapshot::Publisher;
use proxy::table::Bind;
use proxy::upstream::connect::Connector;
use proxy::upstream::endpoint::EndpointAddr;
use proxy::worker::Worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use crate::fixture;

const LISTENER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Room in each direction of a pipe.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;
const BODY_BYTES: usize = 1024;

pub(crate) type Http1 = http1::SendRequest<Empty<Bytes>>;

pub(crate) fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the system gives an event queue")
}

/// A worker with this configuration, whose connections lead where `open` says.
pub(crate) fn worker(
    yaml: &str,
    open: impl Fn(&EndpointAddr) -> DuplexStream + 'static,
) -> Rc<Worker> {
    let metrics = fixture::metrics();
    let loaded = config::load::parse("bench.yaml", yaml, fixture::NAMESPACE);
    assert_eq!(loaded.problems, []);
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let compiled = fixture::compiler(&metrics).compile(&mesh);
    let publisher = Publisher::default();
    publisher.publish(compiled.table, compiled.destinations);
    let connector = Connector::Custom(Rc::new(move |addr| {
        let opened = Io::Memory(open(addr));
        Box::pin(async { io::Result::Ok(opened) })
    }));
    Rc::new(Worker::new(&publisher, &metrics, None, connector))
}

/// The client's end of a connection to the proxy.
pub(crate) fn downstream(worker: &Rc<Worker>, runtime: &LocalRuntime) -> DuplexStream {
    let (near, far) = duplex(PIPE_BYTES);
    let downstream = Downstream::new(
        Bind::Tcp(LISTENER),
        Some(SocketAddr::new(LISTENER.ip(), 40_000)),
        None,
    );
    runtime.spawn_local(connection(Rc::clone(worker), Io::Memory(far), downstream));
    near
}

/// The proxy's end of a connection to a server that answers each request head with the same bytes.
pub(crate) fn upstream() -> DuplexStream {
    let (near, mut far) = duplex(PIPE_BYTES);
    tokio::task::spawn_local(async move {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\n\
             content-length: {BODY_BYTES}\r\n\r\n{}",
            "x".repeat(BODY_BYTES)
        );
        let mut read = vec![0; PIPE_BYTES];
        let mut filled = 0;
        while let Ok(more @ 1..) = far.read(&mut read[filled..]).await {
            filled += more;
            // Heads come one at a time and requests have no body.
            if read[..filled].ends_with(b"\r\n\r\n") {
                filled = 0;
                if far.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    near
}

pub(crate) async fn http1_client(io: DuplexStream) -> Http1 {
    let (client, connection) = http1::handshake(TokioIo::new(io))
        .await
        .expect("a pipe connects");
    tokio::task::spawn_local(connection);
    client
}

pub(crate) async fn get_http1(client: &mut Http1) {
    client.ready().await.expect("the connection stays open");
    let request = get("/api/items?page=1").header("host", "web.example");
    let request = request.body(Empty::new()).expect("a valid request");
    drain(client.send_request(request).await).await;
}

pub(crate) fn get(target: &str) -> http::request::Builder {
    Request::get(target)
        .header("user-agent", "bench")
        .header("accept", "*/*")
        .header("x-tenant", "none")
}

pub(crate) async fn drain(response: hyper::Result<http::Response<hyper::body::Incoming>>) {
    let response = response.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes().len(), BODY_BYTES);
}
