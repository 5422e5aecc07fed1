//! The control thread: start, reload, stop. Everything that is not a request happens here.

mod identity;
mod open_files;
mod reload;
mod settle;
mod signals;

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::admin::{
    Addresses, AdminState, Command as AdminCommand, ConfigInfo, Lifecycle, Servers, limits,
};
use crate::bootstrap::{AccessLog as LogSetting, Settings};
use crate::listener::Balancers;
use crate::request::explain::Callers;
use crate::snapshot::Publisher;
use crate::source::file::FileWatch;
use crate::telemetry::access_log::{AccessLog, Format};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::{Metrics, SERIES_MAX};
use crate::upstream::dns::{Resolver, Update};
use crate::worker::{self, Command, Handle};
use identity::OwnIdentity;
use reload::{Beginning, Configuration};
use settle::Trigger;
use signals::{Signal, Signals};

/// Limit of the wait for open connections when the proxy stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of the wait for the first DNS answers when the proxy starts.
const FIRST_DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// DNS answers that may wait to be taken in.
const DNS_UPDATES_MAX: usize = 256;
/// Admin commands that may wait.
const ADMIN_COMMANDS_MAX: usize = 16;

type FilterHandle = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

/// Runs a proxy until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in one line with causes.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let filter = log_to_stderr(&settings.log);
    open_files::raise_limit();
    let signals = Signals::listen().context("listen for signals")?;
    let (reload, reloads) = mpsc::channel(1);
    let watch = FileWatch::start(settings.config.clone());
    let named_files = watch.named_files();
    let watcher = tokio::spawn(watch.run(reload));

    let own = OwnIdentity::start(&settings)?;
    let identity = identity_in_metrics(&settings, own.as_ref());
    let metrics = Metrics::new(identity.clone(), SERIES_MAX);
    let publisher = Publisher::default();
    metrics.show_health(publisher.clone());
    let (dns_updates, mut resolved) = mpsc::channel(DNS_UPDATES_MAX);
    let resolver = Resolver::new(dns_updates, metrics.process.dns_resolutions.clone());
    let workers = start_workers(&settings, &publisher, &metrics)?;

    let (lifecycle, lifecycle_seen) = watch::channel(Lifecycle::Starting);
    let (commands, admin_commands) = mpsc::channel(ADMIN_COMMANDS_MAX);
    let admin = Arc::new(AdminState {
        publisher: publisher.clone(),
        config: Mutex::new(ConfigInfo::default()),
        certificates: Mutex::default(),
        metrics: exposition(&metrics, &publisher),
        lifecycle: lifecycle_seen,
        commands,
    });
    let beginning = Beginning {
        identity,
        own,
        named_files,
        workers,
        publisher,
        metrics: Arc::clone(&metrics),
        resolver,
        admin: Arc::clone(&admin),
    };
    let mut configuration = Configuration::new(&settings, beginning);
    configuration
        .start(&mut resolved, FIRST_DNS_TIMEOUT)
        .await?;

    let servers = Servers::bind(Addresses {
        admin: settings.admin_addr,
        metrics: settings.metrics_addr,
        health: settings.health_addr,
    })
    .await?;
    let bound = servers.addresses();
    let serving = tokio::spawn(servers.serve(admin));
    lifecycle.send_replace(Lifecycle::Ready);
    tracing::info!(admin = %bound.admin, metrics = %bound.metrics, health = %bound.health, "ready");

    let mut control = Control {
        configuration,
        lifecycle,
        filter,
        drained: None,
    };
    let mut inputs = Inputs {
        signals,
        reloads,
        resolved,
        commands: admin_commands,
    };
    while control.obey(&mut inputs).await.is_continue() {}
    watcher.abort();
    serving.abort();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Who the workload is in metrics.
fn identity_in_metrics(settings: &Settings, own: Option<&OwnIdentity>) -> Identity {
    let identity = Identity::of_workload(
        &settings.labels,
        &settings.name,
        &settings.namespace,
        &settings.cluster,
    );
    match own {
        Some(own) => Identity {
            principal: own.current().id.shared(),
            ..identity
        },
        None => identity,
    }
}

fn start_workers(
    settings: &Settings,
    publisher: &Publisher,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Vec<Handle>> {
    let setup = worker::Setup {
        access_log: access_log(settings, metrics).context("start the access log")?,
        limits: settings.limits,
        stream_idle_timeout: settings.stream_idle_timeout,
        explains_to: Callers::new(&settings.explain_from),
        balancers: Balancers::new(&settings.proxy_protocol_from),
    };
    let numbers = 0..settings.workers.get();
    let workers: io::Result<Vec<Handle>> = numbers
        .map(|number| worker::spawn(number, publisher, metrics, setup.clone()))
        .collect();
    workers.context("start a worker")
}

/// What the control thread acts on.
struct Control {
    configuration: Configuration,
    lifecycle: watch::Sender<Lifecycle>,
    filter: FilterHandle,
    /// Set when the proxy is to exit once its connections have ended.
    drained: Option<Drained>,
}

/// A wait for the last connections.
struct Drained {
    /// One for each worker that has not said that it is done.
    waits: Vec<oneshot::Receiver<()>>,
    /// When it is over; other events in between do not prolong it.
    deadline: tokio::time::Instant,
}

/// What the control thread listens to.
struct Inputs {
    signals: Signals,
    reloads: mpsc::Receiver<()>,
    resolved: mpsc::Receiver<Update>,
    commands: mpsc::Receiver<AdminCommand>,
}

// === impl Control ===

impl Control {
    /// Waits for the next thing to do and does it.
    async fn obey(&mut self, inputs: &mut Inputs) -> ControlFlow<()> {
        tokio::select! {
            signal = inputs.signals.next() => match signal {
                Signal::Reload => self.configuration.reload(Trigger::Operator).await,
                Signal::Stop if self.drained.is_some() => return ControlFlow::Break(()),
                Signal::Stop => self.drained = Some(self.drain().await),
            },
            Some(()) = inputs.reloads.recv() => self.configuration.reload(Trigger::Files).await,
            Some(update) = inputs.resolved.recv() => self.configuration.resolved(&update),
            Some(command) = inputs.commands.recv() => match command {
                AdminCommand::Drain => {
                    self.drain().await;
                }
                AdminCommand::Quit if self.drained.is_some() => {}
                AdminCommand::Quit => self.drained = Some(self.drain().await),
                AdminCommand::SetLogFilter(written) => set_filter(&self.filter, &written),
            },
            () = until_drained(&mut self.drained) => return ControlFlow::Break(()),
            () = until(self.configuration.retry_at()) => self.configuration.retry().await,
            () = until(self.configuration.settled_at()) => {
                self.configuration.reload(Trigger::Settled).await;
            }
        }
        ControlFlow::Continue(())
    }

    /// Tells every worker to drain; the result is ready when the last connection has ended.
    async fn drain(&self) -> Drained {
        tracing::info!(timeout = ?DRAIN_TIMEOUT, "draining");
        self.lifecycle.send_replace(Lifecycle::Draining);
        let deadline = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        let mut waits = Vec::new();
        for worker in self.configuration.workers() {
            let (done, wait) = oneshot::channel();
            if worker.tell(Command::Drain(done)).await {
                waits.push(wait);
            }
        }
        Drained { waits, deadline }
    }
}

/// Waits for a time; forever for none.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until the workers have no connection left or the time for it is over; forever while
/// nothing drains.
async fn until_drained(drained: &mut Option<Drained>) {
    let Some(Drained { waits, deadline }) = drained else {
        return std::future::pending().await;
    };
    let all = async {
        while let Some(wait) = waits.last_mut() {
            let _ = wait.await;
            waits.pop();
        }
    };
    if tokio::time::timeout_at(*deadline, all).await.is_err() {
        tracing::warn!("connections left at the end of the drain are closed");
    }
}

fn log_to_stderr(filter: &str) -> FilterHandle {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // Only a second proxy in one process, as tests have, finds a subscriber in place.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    handle
}

fn set_filter(handle: &FilterHandle, written: &str) {
    match EnvFilter::try_new(written) {
        Ok(filter) => {
            if handle.reload(filter).is_ok() {
                tracing::info!(filter = written, "log filter changed");
            }
        }
        Err(error) => tracing::warn!(%error, "log filter refused"),
    }
}

/// What a scrape is answered with.
fn exposition(
    metrics: &Arc<Metrics>,
    publisher: &Publisher,
) -> Box<dyn Fn() -> String + Send + Sync> {
    let (metrics, publisher) = (Arc::clone(metrics), publisher.clone());
    Box::new(move || {
        let destinations = &publisher.current().destinations;
        metrics.text(Instant::now()) + &limits::exposition(destinations)
    })
}

fn access_log(settings: &Settings, metrics: &Metrics) -> io::Result<Option<Arc<AccessLog>>> {
    let format = match settings.access_log {
        LogSetting::Off => return Ok(None),
        LogSetting::Text => Format::Text,
        LogSetting::Json => Format::Json,
    };
    let dropped = metrics.process.access_log_dropped.clone();
    AccessLog::new(format, io::stdout(), dropped).map(|log| Some(Arc::new(log)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_drain_does_not_start_over_when_something_else_happens() {
        let (_open, wait) = oneshot::channel();
        let mut drained = Some(Drained {
            waits: vec![wait],
            deadline: tokio::time::Instant::now() + DRAIN_TIMEOUT,
        });

        for _ in 0..3 {
            let interrupted = until_drained(&mut drained);
            let _ = tokio::time::timeout(DRAIN_TIMEOUT / 3, interrupted).await;
        }

        let rest = tokio::time::timeout(Duration::from_secs(1), until_drained(&mut drained));
        assert!(rest.await.is_ok());
    }
}
