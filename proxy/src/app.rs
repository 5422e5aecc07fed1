//! The control thread: start, reload, stop. Everything that is not a request happens here.

mod control;
mod identity;
mod log;
mod memory;
mod open_files;
mod plane;
mod reload;
mod signals;
mod stop;
mod successor;
mod supervise;
mod upgrade;
mod workload;

use std::io;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::admin::{Addresses, AdminState, Command, Lifecycle, Servers, limits};
use crate::bootstrap::{AccessLog as LogSetting, Settings};
use crate::demand::Demands;
use crate::dns_proxy;
use crate::handover::Sockets;
use crate::listener::Balancers;
use crate::listener::places::{ClientLimit, Places};
use crate::pressure::Pressure;
use crate::probes::Prober;
use crate::request::explain::Callers;
use crate::snapshot::Publisher;
use crate::source::file::{FileWatch, NamedFiles};
use crate::telemetry::access_log::{AccessLog, Format};
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::{Metrics, SERIES_MAX};
use crate::upstream::dns::{Resolver, Update};
use crate::worker::{self, Handle};
use control::{Control, Inputs, Parts};
use identity::OwnIdentity;
use log::{FilterHandle, log_to_stderr};
use plane::Plane;
use reload::listeners::Listeners;
use reload::{Beginning, Configuration};
use signals::Signals;
use successor::Predecessor;

/// Limit of the wait for the first DNS answers when the proxy starts.
const FIRST_DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// DNS answers that may wait to be taken in.
const DNS_UPDATES_MAX: usize = 256;
/// Admin commands that may wait.
const ADMIN_COMMANDS_MAX: usize = 16;

/// Runs a proxy until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, in one line with causes.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let filter = log_to_stderr(&settings.log);
    let files = open_files::raise_limit();
    let signals = Signals::listen().context("listen for signals")?;
    let before = Predecessor::find().context("take over from the process before")?;
    let (reload, reloads) = mpsc::channel(1);
    let watch = FileWatch::start(settings.config.clone());
    let named_files = watch.named_files();
    let watcher = tokio::spawn(watch.run(reload.clone()));
    let (updates, resolved) = mpsc::channel(DNS_UPDATES_MAX);
    let (commands, admin_commands) = mpsc::channel(ADMIN_COMMANDS_MAX);
    let mut inputs = Inputs {
        signals,
        reloads,
        resolved,
        commands: admin_commands,
    };
    let around = Around {
        filter,
        files,
        before,
        named_files,
        reload,
        updates,
        commands,
    };
    let Some((mut control, tasks)) = start(&settings, around, &mut inputs).await? else {
        tracing::info!("stopped before it was ready");
        return Ok(ExitCode::SUCCESS);
    };
    while control.obey(&mut inputs).await.is_continue() {}
    watcher.abort();
    tasks.iter().for_each(AbortHandle::abort);
    tracing::info!("stopped");
    Ok(control.end(inputs.signals).await)
}

/// What a start needs beside the settings.
struct Around {
    filter: FilterHandle,
    /// Most open files.
    files: Option<u64>,
    before: Predecessor,
    named_files: NamedFiles,
    /// Where it is told that there is something else to load.
    reload: mpsc::Sender<()>,
    /// Where DNS answers go.
    updates: mpsc::Sender<Update>,
    /// Where commands go.
    commands: mpsc::Sender<Command>,
}

/// What is open before anything is configured.
struct Opened {
    /// Who the workload is in metrics.
    identity: Identity,
    own: Option<OwnIdentity>,
    plane: Option<Plane>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    lifecycle: watch::Sender<Lifecycle>,
    admin: Arc<AdminState>,
    bound: Addresses,
    dns: Option<dns_proxy::Listening>,
    /// Sockets beside listeners, to be handed over.
    held: Sockets,
    pressure: Option<Arc<Pressure>>,
    tasks: Vec<AbortHandle>,
}

/// Brings the proxy to where it serves; none if it was told to stop before. The tasks that come with it
/// end with it.
async fn start(
    settings: &Settings,
    mut around: Around,
    inputs: &mut Inputs,
) -> anyhow::Result<Option<(Control, Vec<AbortHandle>)>> {
    let mut opened = open(settings, &mut around).await?;
    if let Some(plane) = &mut opened.plane {
        tokio::select! {
            () = plane.ready() => {}
            () = inputs.signals.stop() => return Ok(None),
        }
        if let Some(folder) = plane.identity_dir() {
            opened.own = OwnIdentity::start(settings, Some(folder))?;
        }
    }
    let Opened {
        publisher,
        metrics,
        lifecycle,
        admin,
        bound,
        ..
    } = opened;
    let Around {
        filter,
        files,
        mut before,
        named_files,
        updates,
        ..
    } = around;
    let line = before.take_line();
    let beside = Beside {
        pressure: opened.pressure,
        demands: opened.plane.as_ref().map(Plane::demands),
    };
    let learn = beside.demands.clone().map(|demands| dns_proxy::Learn {
        demands,
        publisher: publisher.clone(),
    });
    let workers = start_workers(settings, files, &publisher, &metrics, beside)?;
    let beginning = Beginning {
        identity: opened.identity,
        own: opened.own,
        plane: opened.plane,
        named_files,
        listeners: Listeners::new(workers, Arc::clone(&admin.loads), before.take_sockets()),
        publisher,
        metrics: Arc::clone(&metrics),
        resolver: Resolver::new(updates, metrics.process.dns_resolutions.clone()),
        admin: Arc::clone(&admin),
    };
    let mut configuration = Configuration::new(settings, beginning);
    configuration
        .start(&mut inputs.resolved, FIRST_DNS_TIMEOUT)
        .await?;
    let names = answer_names(opened.dns, &metrics, learn)?;
    lifecycle.send_replace(Lifecycle::Ready);
    tracing::info!(admin = %bound.admin, metrics = %bound.metrics, health = %bound.health, "ready");
    before.tell_ready();
    let parts = Parts {
        configuration,
        lifecycle,
        filter,
        held: opened.held,
        line,
        admin,
        metrics,
        names,
    };
    let control = Control::new(&settings.lifecycle, parts);
    Ok(Some((control, opened.tasks)))
}

/// Opens what does not depend on the configuration, so that whoever asks hears how far the proxy is, and
/// begins to follow a control plane, if there is one.
async fn open(settings: &Settings, around: &mut Around) -> anyhow::Result<Opened> {
    let own = OwnIdentity::start(settings, settings.identity_dir.clone())?;
    let identity = identity_in_metrics(settings, own.as_ref())?;
    let metrics = Metrics::new(identity.clone(), SERIES_MAX);
    let publisher = Publisher::default();
    metrics.show_health(publisher.clone());
    let (lifecycle, lifecycle_seen) = watch::channel(Lifecycle::Starting);
    let reload = around.reload.clone();
    let before = &mut around.before;
    let inherited = &mut before.sockets;
    let plane = Plane::start(settings, reload, &publisher, &metrics, inherited)?;
    let dns = listen_for_names(settings, &mut before.sockets)?;
    let admin = Arc::new(AdminState {
        control: plane.as_ref().map(Plane::view),
        dns: dns.as_ref().map(dns_proxy::Listening::state),
        probes: Prober::new(&settings.app_probes, &metrics.process.app_probes),
        ..AdminState::new(
            publisher.clone(),
            exposition(&metrics, &publisher),
            lifecycle_seen,
            around.commands.clone(),
        )
    });
    let mut servers = Servers::bind(addresses(settings), &mut before.sockets).await?;
    let (bound, mut held) = (servers.addresses(), servers.take_held());
    hold_names(dns.as_ref(), &mut held)?;
    let serving = tokio::spawn(serve(servers, Arc::clone(&admin), before.is_there()));
    let workload = workload::watch(settings.lifecycle.exit_with_app, around.commands.clone())?;
    let memory = memory::watch(settings.capacity.memory, &metrics)?;
    let (looking, pressure) = memory.unzip();
    let tasks = [Some(serving.abort_handle()), workload, looking];
    Ok(Opened {
        identity,
        own,
        plane,
        publisher,
        metrics,
        lifecycle,
        admin,
        bound,
        dns,
        held,
        pressure,
        tasks: tasks.into_iter().flatten().collect(),
    })
}

/// Serves admin, metrics and health; where there is a process before, that one answers until this one
/// serves.
async fn serve(servers: Servers, state: Arc<AdminState>, waits: bool) {
    if waits {
        let mut lifecycle = state.lifecycle.clone();
        // Nobody is there to be answered if nobody can say so.
        let started = |lifecycle: &Lifecycle| *lifecycle != Lifecycle::Starting;
        if lifecycle.wait_for(started).await.is_err() {
            return;
        }
    }
    servers.serve(state).await;
}

fn addresses(settings: &Settings) -> Addresses {
    Addresses {
        admin: settings.admin_addr,
        metrics: settings.metrics_addr,
        health: settings.health_addr,
    }
}

/// Listens for names that the workload asks for, if it is to.
fn listen_for_names(
    settings: &Settings,
    inherited: &mut Sockets,
) -> anyhow::Result<Option<dns_proxy::Listening>> {
    let listening = settings.dns.as_ref();
    let listening = listening.map(|dns| dns_proxy::Listening::bind(dns, inherited));
    Ok(listening.transpose()?)
}

/// Keeps the sockets of these names for a process that takes this one's place.
fn hold_names(listening: Option<&dns_proxy::Listening>, held: &mut Sockets) -> anyhow::Result<()> {
    if let Some(listening) = listening {
        held.extend(listening.held().context("keep the sockets of --dns")?);
    }
    Ok(())
}

/// Answers these names from now on, for as long as the result is kept.
fn answer_names(
    listening: Option<dns_proxy::Listening>,
    metrics: &Metrics,
    learn: Option<dns_proxy::Learn>,
) -> anyhow::Result<Option<dns_proxy::Serving>> {
    let counters = || metrics.process.dns.clone();
    let serving = listening.map(|listening| listening.serve(counters(), learn));
    serving.transpose().context("answer names")
}

/// Who the workload is in metrics.
///
/// # Errors
///
/// If the control plane is to be asked for a certificate of nobody.
fn identity_in_metrics(settings: &Settings, own: Option<&OwnIdentity>) -> anyhow::Result<Identity> {
    let identity = Identity::of_workload(
        &settings.labels,
        &settings.name,
        &settings.namespace,
        &settings.cluster,
    );
    let principal = match own {
        Some(own) => own.current().id.shared(),
        None if settings.asks_for_certificates() => plane::asked_identity(settings)?.shared(),
        None => return Ok(identity),
    };
    Ok(Identity {
        principal,
        ..identity
    })
}

/// How many connections there may be, by flags or by what the system allows.
fn places(settings: &Settings, files: Option<u64>) -> Arc<Places> {
    let capacity = &settings.capacity;
    let by_system = || open_files::connections_max(files, settings.workers.get());
    let max = capacity
        .connections_max
        .map_or_else(by_system, |it| it.get());
    Places::new(max, client_limit(capacity.connections_per_client, max))
}

/// How many connections a client may have where `max` may be open. Unless told otherwise one client of a
/// gateway leaves half of them to others.
fn client_limit(asked: Option<u32>, max: usize) -> Option<ClientLimit> {
    let half = u32::try_from(max / 2).unwrap_or(u32::MAX).max(1);
    Some(ClientLimit {
        max: NonZeroU32::new(asked.unwrap_or(half))?,
        inbound: asked.is_some(),
    })
}

/// What workers look at beside what they serve by.
struct Beside {
    pressure: Option<Arc<Pressure>>,
    demands: Option<Demands>,
}

fn start_workers(
    settings: &Settings,
    files: Option<u64>,
    publisher: &Publisher,
    metrics: &Arc<Metrics>,
    beside: Beside,
) -> anyhow::Result<Vec<Handle>> {
    let setup = worker::Setup {
        access_log: access_log(settings, metrics).context("start the access log")?,
        limits: settings.limits,
        stream_idle_timeout: settings.stream_idle_timeout,
        explains_to: Callers::new(&settings.explain_from),
        balancers: Balancers::new(&settings.proxy_protocol_from),
        places: places(settings, files),
        pressure: beside.pressure,
        demands: beside.demands,
    };
    let numbers = 0..settings.workers.get();
    let workers: io::Result<Vec<Handle>> = numbers
        .map(|number| worker::spawn(number, publisher, metrics, setup.clone()))
        .collect();
    workers.context("start a worker")
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

    #[test]
    fn a_client_of_a_gateway_leaves_half_to_others_unless_told_otherwise() {
        let limit = |asked, max| client_limit(asked, max).map(|it| (it.max.get(), it.inbound));

        assert_eq!(limit(None, 1_000), Some((500, false)));
        assert_eq!(limit(None, 1), Some((1, false)));
        assert_eq!(limit(Some(10), 1_000), Some((10, true)));
        assert_eq!(limit(Some(0), 1_000), None);
    }
}
