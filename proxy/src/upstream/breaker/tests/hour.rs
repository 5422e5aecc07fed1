//! An hour of requests that end in every way there is, on two workers, in paused time: no limit is
//! ever exceeded and at the end nothing is left.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::mesh::{Mesh, MeshSettings, Viewer};
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::connection::connection;
use crate::io::Io;
use crate::request::Downstream;
use crate::snapshot::Publisher;
use crate::table::Bind;
use crate::table::compile::{Compiler, Perspective};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::{Metrics, SERIES_MAX};
use crate::upstream::connect::Connector;
use crate::upstream::destination::Destination;
use crate::worker::Worker;

const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const HOUR: Duration = Duration::from_secs(3_600);
const CLIENTS: usize = 12;
const CONNECTIONS: u32 = 3;
const PENDING: u32 = 4;
const REQUESTS: u32 = 5;

/// What the upstream sees, and the most of it so far.
#[derive(Debug, Default)]
struct Seen {
    connections: Cell<u32>,
    requests: Cell<u32>,
    answered: Cell<u32>,
    connections_max: Cell<u32>,
    requests_max: Cell<u32>,
}

/// Counts one more in a cell of [`Seen`] until dropped.
struct Counting(Rc<Seen>, fn(&Seen) -> (&Cell<u32>, &Cell<u32>));

/// A body of one part that comes late, or breaks off.
struct Slow {
    wait: Pin<Box<tokio::time::Sleep>>,
    breaks: bool,
    sent: bool,
    _counting: Counting,
}

/// Runs tasks of the HTTP/2 server on this thread.
#[derive(Debug, Clone, Copy)]
struct Here;

fn yaml(protocol: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  servers:
  - port: {{number: 8080, name: http, protocol: HTTP}}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.example]
  resolution: STATIC
  ports: [{{number: 80, name: web, protocol: {protocol}}}]
  endpoints: [{{address: 192.0.2.1}}, {{address: 192.0.2.2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - route: [{{destination: {{host: web.example}}}}]
    timeout: 4s
    retries: {{attempts: 2, perTryTimeout: 1500ms, retryOn: '5xx,reset'}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web.example
  trafficPolicy:
    connectionPool:
      tcp: {{maxConnections: {CONNECTIONS}}}
      http:
        http1MaxPendingRequests: {PENDING}
        http2MaxRequests: {REQUESTS}
        maxRequestsPerConnection: 7
        maxConcurrentStreams: 3
"
    )
}

/// Workers of one proxy on this thread, and where their requests go.
fn workers(protocol: &str, seen: &Rc<Seen>) -> (Vec<Rc<Worker>>, Arc<Destination>) {
    let identity = || Identity::of_workload(&BTreeMap::new(), "edge", "default", "Kubernetes");
    let metrics = Metrics::new(identity(), SERIES_MAX);
    let loaded = config::load::parse("hour.yaml", &yaml(protocol), "default");
    assert_eq!(loaded.problems, []);
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let viewer = Viewer {
        namespace: "default".to_owned(),
        labels: BTreeMap::new(),
    };
    let perspective = Perspective {
        viewer,
        identity: identity(),
        cluster: "Kubernetes".to_owned(),
        locality: None,
        bind: LISTENER.ip(),
        principal: "unknown".to_owned(),
        captures: false,
    };
    let compiled = Compiler::new(perspective, Arc::clone(&metrics)).compile(&mesh);
    let destination = compiled.destinations.iter().next().map(Arc::clone);
    let publisher = Publisher::default();
    publisher.publish(compiled.table, compiled.destinations);
    let http2 = protocol == "HTTP2";
    let worker = |_| {
        let seen = Rc::clone(seen);
        let connector = Connector::Custom(Rc::new(move |_| {
            let seen = Rc::clone(&seen);
            Box::pin(async move { accept(&seen, http2).await })
        }));
        let worker = Rc::new(Worker::new(&publisher, &metrics, None, connector));
        let attending = Rc::clone(&worker);
        spawn_local(async move { attending.upstream.pool.attend().await });
        worker
    };
    let workers = (0..2).map(worker).collect();
    (workers, destination.expect("the rule leads somewhere"))
}

/// A connection to the upstream: after a while, or not at all.
async fn accept(seen: &Rc<Seen>, http2: bool) -> io::Result<Io> {
    sleep(Duration::from_millis(fastrand::u64(0..20))).await;
    match fastrand::u8(..100) {
        0..5 => return Err(io::ErrorKind::ConnectionRefused.into()),
        5..7 => std::future::pending().await,
        _ => {}
    }
    let (near, far) = duplex(16 * 1024);
    let counting = Counting::new(seen, |it| (&it.connections, &it.connections_max));
    let seen = Rc::clone(seen);
    spawn_local(async move {
        let service = service_fn(move |request| answer(Rc::clone(&seen), request));
        let io = TokioIo::new(far);
        // However it ends is as it should be.
        let _ = match http2 {
            true => {
                let mut builder = http2::Builder::new(Here);
                builder.timer(TokioTimer::new());
                builder.serve_connection(io, service).await
            }
            false => http1::Builder::new().serve_connection(io, service).await,
        };
        drop(counting);
    });
    Ok(Io::Memory(near))
}

async fn answer(
    seen: Rc<Seen>,
    _request: Request<Incoming>,
) -> Result<Response<Slow>, &'static str> {
    let counting = Counting::new(&seen, |it| (&it.requests, &it.requests_max));
    sleep(Duration::from_millis(fastrand::u64(0..1_200))).await;
    let kind = fastrand::u8(..100);
    match kind {
        0..8 => return Err("reset"),
        8..14 => std::future::pending().await,
        _ => {}
    }
    seen.answered.set(seen.answered.get() + 1);
    let mut response = Response::new(Slow {
        wait: Box::pin(sleep(Duration::from_millis(fastrand::u64(0..400)))),
        breaks: kind < 20,
        sent: false,
        _counting: counting,
    });
    if (20..30).contains(&kind) {
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// One client: request after request, some of which it gives up, until the hour is over.
async fn client(worker: Rc<Worker>, until: Instant) {
    while Instant::now() < until {
        let mut io = connect(&worker);
        let patience = match fastrand::u8(..10) {
            0..3 => Duration::from_millis(fastrand::u64(0..2_000)),
            _ => Duration::from_secs(20),
        };
        let asked = async {
            let request = b"GET / HTTP/1.1\r\nhost: web.example\r\nconnection: close\r\n\r\n";
            io.write_all(request).await?;
            let mut answer = Vec::new();
            io.read_to_end(&mut answer).await
        };
        let answered = timeout(patience, asked).await;
        let in_time = answered.is_ok() || patience < Duration::from_secs(20);
        assert!(in_time, "every request ends");
        drop(io);
        sleep(Duration::from_millis(fastrand::u64(0..4_000))).await;
    }
}

fn connect(worker: &Rc<Worker>) -> DuplexStream {
    let (near, far) = duplex(16 * 1024);
    let downstream = Downstream::new(Bind::Tcp(LISTENER), None, None);
    let connection = connection(Rc::clone(worker), Io::Memory(far), downstream);
    spawn_local(connection);
    near
}

async fn an_hour(protocol: &'static str) {
    fastrand::seed(4);
    let local = LocalSet::new();
    local
        .run_until(async {
            let seen = Rc::<Seen>::default();
            let (workers, destination) = workers(protocol, &seen);
            let until = Instant::now() + HOUR;

            let clients: Vec<_> = (0..CLIENTS)
                .map(|at| spawn_local(client(Rc::clone(&workers[at % 2]), until)))
                .collect();
            for client in clients {
                client.await.expect("no client fails");
            }
            // What the last ones gave up ends, too.
            sleep(Duration::from_secs(30)).await;

            let in_use = destination.live.breaker.in_use();
            assert_eq!((in_use.pending, in_use.requests), (0, 0), "{protocol}");
            assert_eq!(in_use.connections, seen.connections.get(), "{protocol}");
            assert!(destination.live.breaker.lock().waiting.is_empty());
            assert!(!destination.live.breaker.is_awaited());
            assert!(seen.connections_max.get() <= CONNECTIONS, "{seen:?}");
            assert!(seen.requests_max.get() <= REQUESTS, "{seen:?}");
            // That the limits were met at all, and that most of the work was done.
            assert_eq!(seen.connections_max.get(), CONNECTIONS);
            assert!(in_use.pending_overflows > 20, "{in_use:?}");
            assert!(seen.answered.get() > 3_000, "{seen:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_http1_leaves_nothing_behind() {
    an_hour("HTTP").await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_http2_leaves_nothing_behind() {
    an_hour("HTTP2").await;
}

// === impl Counting ===

impl Counting {
    fn new(seen: &Rc<Seen>, what: fn(&Seen) -> (&Cell<u32>, &Cell<u32>)) -> Self {
        let (count, most) = what(seen);
        count.set(count.get() + 1);
        most.set(most.get().max(count.get()));
        Self(Rc::clone(seen), what)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let (count, _) = (self.1)(&self.0);
        count.set(count.get() - 1);
    }
}

// === impl Slow ===

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.wait.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if this.breaks {
            return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
        }
        if std::mem::replace(&mut this.sent, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"done")))))
    }
}

// === impl Here ===

impl<F> hyper::rt::Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
