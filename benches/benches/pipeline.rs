//! What a whole request costs without a kernel between: client, proxy and upstream on one thread,
//! joined by pipes in memory.
//!
//! `direct` is the same client and upstream without the proxy: the difference is what the proxy
//! takes, telemetry included. `compare` measures the same with sockets, in CPU time per request.

mod fixture;
mod memory;

use std::fmt::Write as _;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use memory::{downstream, drain, get, get_http1, http1_client, runtime, upstream, worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the tasks of an HTTP/2 client on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

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
        let worker = runtime.block_on(async { worker(&yaml(rules), |_| upstream()) });
        let mut client = runtime.block_on(http1_client(downstream(&worker, &runtime)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(get_http1(&mut client)));
        });
    }
    for policies in [1, 10, 100] {
        let yaml = yaml(1) + &authorization(policies);
        let worker = runtime.block_on(async { worker(&yaml, |_| upstream()) });
        let mut client = runtime.block_on(http1_client(downstream(&worker, &runtime)));
        group.bench_function(format!("http1-authz-{policies}"), |bencher| {
            bencher.iter(|| runtime.block_on(get_http1(&mut client)));
        });
    }
    let worker = runtime.block_on(async { worker(&yaml(1), |_| upstream()) });
    let mut client = runtime.block_on(http2_client(downstream(&worker, &runtime)));
    group.bench_function("http2", |bencher| {
        bencher.iter(|| runtime.block_on(get_http2(&mut client)));
    });
    group.finish();
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

/// Policies of which the request meets the last: the others deny other paths.
fn authorization(policies: usize) -> String {
    let mut text = String::new();
    for number in 0..policies {
        let (action, path) = match number + 1 == policies {
            true => ("ALLOW", "/api/*".to_owned()),
            false => ("DENY", format!("/admin-{number}/*")),
        };
        let head = format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: p{number}}}\n"
        );
        let operation = format!("{{methods: [GET], paths: ['{path}']}}");
        writeln!(
            text,
            "{head}spec: {{action: {action}, rules: [{{to: [{{operation: {operation}}}]}}]}}"
        )
        .expect("a string takes all text");
    }
    text
}

async fn http2_client(io: DuplexStream) -> Http2 {
    let (client, connection) = http2::handshake(LocalExecutor, TokioIo::new(io))
        .await
        .expect("a pipe connects");
    tokio::task::spawn_local(connection);
    client
}

async fn get_http2(client: &mut Http2) {
    client.ready().await.expect("the connection stays open");
    let request = get("http://web.example/api/items?page=1");
    let request = request.body(Empty::new()).expect("a valid request");
    drain(client.send_request(request).await).await;
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
