//! Proxies that are restarted one after the other behind clients that go where one is ready.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::Signal;
use tests::load::{Load, Upstreams};
use tests::{Port, Proxy, yaml};

/// Restarts under load.
const RESTARTS: usize = 100;
/// How long callers may take to hear that a proxy goes: here they hear it at once, and may have begun
/// to connect.
const MINIMUM_DRAIN: &str = "100ms";

async fn start(port: &Port, documents: &[String]) -> Proxy {
    let yaml = yaml::gateway(port) + &documents.concat();
    Proxy::start_with(&yaml, &["--minimum-drain", MINIMUM_DRAIN]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hundred_restarts_under_load_cost_no_connection_and_no_answer() {
    let upstreams = Upstreams::start().await;
    let documents = upstreams.documents();
    let ports = [Port::reserve(), Port::reserve()];
    let addrs: [SocketAddr; 2] = ports.each_ref().map(Port::addr);
    let mut proxies = [
        start(&ports[0], &documents).await,
        start(&ports[1], &documents).await,
    ];
    let chosen = Arc::new(AtomicUsize::new(0));
    let pick = Arc::clone(&chosen);
    let load = Load::start(move || addrs[pick.load(Relaxed)]);

    for restart in 0..RESTARTS {
        let (leaving, staying) = (restart % 2, (restart + 1) % 2);
        proxies[leaving].signal(Signal::TERM);
        let stderr = &proxies[leaving].stderr;
        stderr
            .line("a drain", |line| line.contains("draining"))
            .await;
        chosen.store(staying, Relaxed);
        let status = proxies[leaving].ended().await;
        assert_eq!(status.code(), Some(0));
        proxies[leaving] = start(&ports[leaving], &documents).await;
    }
    let tally = load.end().await;

    eprintln!("{:?}", tally.whole);
    tally.assert_whole();
}
