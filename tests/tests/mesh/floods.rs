//! Clients that want to wear the proxy out. Whatever one does, others are served, memory stays under
//! a bound, everything is given back, and the cause is counted.

mod control;
mod headers;
mod resets;
mod windows;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tests::origin::Protocol;
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Http2, Origin, RawHttp2, eventually};
use tokio::task::JoinHandle;

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";
/// Resident memory that no flood may reach, in bytes: 25 MiB of a proxy that is built without
/// optimisation, and three pieces of 64 KiB for each of 400 answers that nobody takes.
const RESIDENT_MAX: u64 = (25 + 75) << 20;
/// Connections that each flood at once.
const ATTACKERS: usize = 4;

/// A proxy under attack, and others who use it meanwhile.
struct Scene {
    edge: Edge,
    origin: Origin,
    over: Arc<AtomicBool>,
    others: Vec<JoinHandle<usize>>,
}

// === impl Scene ===

impl Scene {
    /// Others ask for `/` of a good origin, over either protocol, and must always be answered.
    async fn begin() -> Self {
        Self::before(Origin::named("app").await).await
    }

    async fn before(origin: Origin) -> Self {
        let service = Service::new(HOST).at(origin.addr()).to_string();
        let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
        let over = Arc::new(AtomicBool::new(false));
        let others = vec![
            tokio::spawn(use_http1(edge.port.addr(), Arc::clone(&over))),
            tokio::spawn(use_http2(edge.port.addr(), Arc::clone(&over))),
        ];
        Self {
            edge,
            origin,
            over,
            others,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.edge.port.addr()
    }

    async fn rejections(&self, cause: &str) -> f64 {
        let metrics = self.edge.proxy.metrics().await;
        metrics.sum("meshproxy_downstream_rejections_total", &[("cause", cause)])
    }

    /// Floods from several connections at once until each is ended; gives the error code of each
    /// farewell.
    async fn attack(
        &self,
        most: u32,
        frames: impl Fn(u32) -> Vec<u8> + Send + Clone + 'static,
    ) -> Vec<Option<u32>> {
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                let (addr, frames) = (self.addr(), frames.clone());
                tokio::spawn(async move {
                    let mut raw = RawHttp2::connect(addr, &[]).await;
                    raw.flood(most, frames).await;
                    raw.ended().await.farewell
                })
            })
            .collect();
        let mut farewells = Vec::new();
        for attacker in attackers {
            farewells.push(attacker.await.expect("an attacker that ends"));
        }
        farewells
    }

    /// Sees that others were served, that memory is bounded, and that nothing is left.
    async fn end(self) {
        let Self {
            edge,
            origin,
            over,
            others,
        } = self;
        over.store(true, Ordering::Relaxed);
        for other in others {
            let served = other.await.expect("everybody else is answered");
            assert!(served > 0, "nobody asked during the flood");
        }
        let peak = edge.proxy.resident_peak_bytes();
        assert!(peak < RESIDENT_MAX, "{peak} bytes resident");
        let open = async || {
            let metrics = edge.proxy.metrics().await;
            let destinations = edge.proxy.admin("/destinations").await;
            (
                metrics.sum("meshproxy_downstream_connections_active", &[]),
                destinations[0]["endpoints"][0]["active"].as_u64(),
            )
        };
        eventually("nothing left", open, |open| *open == (0.0, Some(0))).await;
        let metrics = edge.proxy.metrics().await;
        assert_eq!(metrics.sum("meshproxy_connection_panics_total", &[]), 0.0);
        drop(origin);
    }
}

async fn use_http1(addr: SocketAddr, over: Arc<AtomicBool>) -> usize {
    let mut served = 0;
    let mut client = Http1::connect(addr).await;
    while !over.load(Ordering::Relaxed) || served == 0 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
        served += 1;
    }
    served
}

async fn use_http2(addr: SocketAddr, over: Arc<AtomicBool>) -> usize {
    let mut served = 0;
    let mut client = Http2::connect(addr).await;
    while !over.load(Ordering::Relaxed) || served == 0 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
        served += 1;
    }
    served
}

/// The number of the request `number`, counted from 0.
fn stream(number: u32) -> u32 {
    number * 2 + 1
}

/// An origin that answers `/` and never anything else, and the number of requests of the latter.
async fn silent_origin() -> (Origin, Arc<AtomicU32>) {
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    let origin = Origin::serving(Protocol::Http1, move |request| {
        let is_silent = request.uri().path() != "/";
        counted.fetch_add(u32::from(is_silent), Ordering::Relaxed);
        async move {
            if is_silent {
                std::future::pending::<()>().await;
            }
            tests::origin::text("app")
        }
    })
    .await;
    (origin, begun)
}
