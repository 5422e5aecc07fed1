//! What a whole request costs without a kernel between: client, proxy and upstream on one thread,
//! joined by pipes in memory.
//!
//! `direct` is the same client and upstream without the proxy: the difference is what the proxy
//! takes, telemetry included. `compare` measures the same with sockets, in CPU time per request.

mod fixture;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use config::mesh::{Mesh, MeshSettings};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use proxy::io::Io;
use proxy::request::{Downstream, server};
use proxy::snapshot::Publisher;
use proxy::table::Bind;
use proxy::upstream::connect::Connector;
use proxy::worker::Worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LISTENER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Room in each direction of a pipe.
const PIPE_BYTES: usize = 64 * 1024;
const BODY_BYTES: usize = 1024;

/// Runs the tasks of an HTTP/2 client on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

type Http1 = http1::SendRequest<Empty<Bytes>>;
type Http2 = http2::SendRequest<Empty<Bytes>>;

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(1));
    let runtime = runtime();
    let mut direct = runtime.block_on(async { http1_client(upstream()).await });
    group.bench_function("direct", |bencher| {
        bencher.iter(|| runtime.block_on(get_http1(&mut direct)));
    });
    for (name, rules) in [("http1", 1), ("http1-100", 100)] {
        let worker = runtime.block_on(async { worker(rules) });
        let mut client = runtime.block_on(http1_client(downstream(&worker, &runtime)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(get_http1(&mut client)));
        });
    }
    let worker = runtime.block_on(async { worker(1) });
    let mut client = runtime.block_on(http2_client(downstream(&worker, &runtime)));
    group.bench_function("http2", |bencher| {
        bencher.iter(|| runtime.block_on(get_http2(&mut client)));
    });
    group.finish();
}

fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the system gives an event queue")
}

/// A worker with `rules` rules whose connections all lead to [`upstream`].
fn worker(rules: usize) -> Rc<Worker> {
    let metrics = fixture::metrics();
    let loaded = config::load::parse("bench.yaml", &yaml(rules), fixture::NAMESPACE);
    assert_eq!(loaded.problems, []);
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let compiled = fixture::compiler(&metrics).compile(&mesh);
    let publisher = Publisher::default();
    publisher.publish(compiled.table, compiled.destinations);
    let connector = Connector::Custom(Rc::new(|_| {
        Box::pin(async { io::Result::Ok(Io::Memory(upstream())) })
    }));
    Rc::new(Worker::new(&publisher, &metrics, None, connector))
}

/// The work of `compare`: half of the other rules have another path, half another header value.
fn yaml(rules: usize) -> String {
    let mut text = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
"
    .to_owned();
    for number in 1..rules {
        let matched = match number % 2 {
            0 => format!("{{uri: {{prefix: /other-{number}/}}}}"),
            _ => format!("{{uri: {{prefix: /api}}, headers: {{x-tenant: {{exact: t{number}}}}}}}"),
        };
        writeln!(
            text,
            "  - match: [{matched}]\n    directResponse: {{status: 500}}"
        )
        .expect("a string takes all text");
    }
    text + "  - route: [{destination: {host: web.example}}]\n"
}

/// The client's end of a connection to the proxy.
fn downstream(worker: &Rc<Worker>, runtime: &LocalRuntime) -> DuplexStream {
    let (near, far) = duplex(PIPE_BYTES);
    let downstream = Downstream::new(
        Bind::Tcp(LISTENER),
        Some(SocketAddr::new(LISTENER.ip(), 40_000)),
        None,
    );
    runtime.spawn_local(server::connection(
        Rc::clone(worker),
        Io::Memory(far),
        downstream,
    ));
    near
}

/// The proxy's end of a connection to a server that answers each request head with the same bytes.
fn upstream() -> DuplexStream {
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

async fn http1_client(io: DuplexStream) -> Http1 {
    let (client, connection) = http1::handshake(TokioIo::new(io))
        .await
        .expect("a pipe connects");
    tokio::task::spawn_local(connection);
    client
}

async fn http2_client(io: DuplexStream) -> Http2 {
    let (client, connection) = http2::handshake(LocalExecutor, TokioIo::new(io))
        .await
        .expect("a pipe connects");
    tokio::task::spawn_local(connection);
    client
}

async fn get_http1(client: &mut Http1) {
    client.ready().await.expect("the connection stays open");
    let request = get("/api/items?page=1").header("host", "web.example");
    let request = request.body(Empty::new()).expect("a valid request");
    drain(client.send_request(request).await).await;
}

async fn get_http2(client: &mut Http2) {
    client.ready().await.expect("the connection stays open");
    let request = get("http://web.example/api/items?page=1");
    let request = request.body(Empty::new()).expect("a valid request");
    drain(client.send_request(request).await).await;
}

fn get(target: &str) -> http::request::Builder {
    Request::get(target)
        .header("user-agent", "bench")
        .header("accept", "*/*")
        .header("x-tenant", "none")
}

async fn drain(response: hyper::Result<http::Response<hyper::body::Incoming>>) {
    let response = response.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes().len(), BODY_BYTES);
}

// === impl LocalExecutor ===

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
