//! The control plane in a process of its own: the index, the hub and the streams of `meshcontrol`, fed
//! from a generator. It is told what to change on stdin, a line each.

use std::io::{BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use config::mesh::MeshSettings;
use control::event::Event;
use control::hub::{Hub, Settings};
use control::stream;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::mesh::{self, Size};

/// Events on their way to the index.
const EVENTS_MAX: usize = 64;

/// Serves until stdin ends. Prints the port first, and the number of wake-ups for each line `woken`.
pub(crate) fn run(size: Size) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("make a runtime")?;
    let registry = Registry::new();
    // All proxies come from one address.
    let settings = Settings::default();
    let settings = Settings {
        streams_each_max: settings.streams_max,
        ..settings
    };
    let hub = Hub::new(settings, &registry).context("register series")?;
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let feeding = Arc::clone(&hub);
    runtime.spawn(async move { feeding.run(events, MeshSettings::default()).await });
    let address = runtime.block_on(listen(hub))?;
    say(u64::from(address.port()))?;
    sender.blocking_send(Event::Everything(mesh::objects(size)?))?;
    sender.blocking_send(Event::Synced)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a command")?;
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let mut number = || -> Result<usize> { Ok(words.next().context("a number")?.parse()?) };
        let object = match word {
            "endpoints" => mesh::slice(number()?, size, number()?)?,
            "route" => mesh::route(number()?, number()?)?,
            _ => {
                say(woken(&registry))?;
                continue;
            }
        };
        sender.blocking_send(Event::Applied(vec![object]))?;
    }
    Ok(())
}

fn say(number: u64) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{number}")
        .and_then(|()| out.flush())
        .context("answer")
}

async fn listen(hub: Arc<Hub>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("listen")?;
    let address = listener.local_addr().context("address")?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = TowerToHyperService::new(stream::service(Arc::clone(&hub)));
            let _ = socket.set_nodelay(true);
            let connection = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

fn woken(registry: &Registry) -> u64 {
    let families = registry.gather();
    let mut woken = families
        .iter()
        .filter(|it| it.name() == "meshcontrol_proxies_woken_total");
    let metrics = woken.next().map(|it| it.get_metric()).unwrap_or_default();
    metrics
        .iter()
        .map(|it| it.get_counter().get_value() as u64)
        .sum()
}
