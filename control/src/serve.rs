//! `meshcontrol serve`: what there is, wired together, from start to stop.

mod elected;
mod front;
mod handler;
mod log;
mod mesh;
mod pages;
mod places;
mod port;
mod ports;
mod stop;
mod tls;
mod trusted;
mod webhooks;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use prometheus::Registry;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::{ServeArgs, Source};
use crate::lease::Leadership;
use crate::metrics;
use crate::signer::trust::Trust;
use crate::source::kubernetes;
pub use handler::{Handler, Request, Response};
use mesh::Mesh;
use ports::{Listeners, Serving};
use stop::{DRAIN_MAX, Signals, Stop};
use trusted::Trusted;

/// Most threads: the work is to wait, to compare and to sign.
const THREADS_MAX: usize = 4;

/// What is known of who signs; nothing before there is an authority.
type TrustReceiver = watch::Receiver<Option<Arc<Trust>>>;

/// What everything that is started needs.
struct Ground<'a> {
    arguments: &'a ServeArgs,
    /// Of the API server, if there is one.
    client: Option<Client>,
    /// Whether this replica does what only one may do, if there is somebody to ask.
    leadership: Option<Leadership>,
    /// Name of this replica.
    replica: String,
    registry: Registry,
    stop: Stop,
    /// Parts that work until the end. That one ends by itself is a failure.
    work: JoinSet<()>,
}

/// Serves until told to stop.
pub fn run(arguments: ServeArgs) -> ExitCode {
    if let Err(error) = arguments.check() {
        error.exit();
    }
    log::to_stderr(&arguments.log);
    // Whoever is asked first installs one; that nobody else did is no matter of order.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .enable_all()
        .build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(serve(&arguments));
        // What blocks on a file does not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshcontrol: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &ServeArgs) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let (stopping, stop) = Stop::new();
    // What ends when it is time to stop.
    let mut ports = JoinSet::new();
    let starting = async {
        let mut ground = Ground::prepare(arguments, stop, &mut ports).await?;
        let mesh = start(&mut ground, &mut ports).await?;
        anyhow::Ok((mesh, ground.work))
    };
    let (mesh, mut work) = tokio::select! {
        started = starting => started?,
        () = signals.next() => return Ok(()),
    };
    while_all_work(&mut work, signals.next()).await?;
    tracing::info!("stopping");
    stopping.send_replace(true);
    mesh.hub.drain();
    let drained = async { while ports.join_next().await.is_some() {} };
    tokio::select! {
        _ = timeout(DRAIN_MAX, drained) => {}
        () = signals.next() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Brings everything to where it serves.
async fn start(ground: &mut Ground<'_>, ports: &mut JoinSet<()>) -> anyhow::Result<Mesh> {
    let listeners = Listeners::bind(ground.arguments).await?;
    let addresses = listeners.addresses()?;
    let mesh = Mesh::start(ground)?;
    let Trusted { mut trust, tokens } = trusted::start(ground)?;
    // Before there is an authority, so that whoever asks hears how far it is.
    let remaining = listeners.serve_pages(ground, &mesh, &trust, ports);
    elected::start(ground, &mesh, &trust)?;
    let first = while_all_work(&mut ground.work, trust.wait_for(Option::is_some)).await?;
    let first = first.context("keep an authority")?.clone();
    let first = first.context("keep an authority")?;
    let serving = Serving {
        mesh: &mesh,
        tokens,
        trust: &trust,
        first: &first,
    };
    remaining.serve(ground, serving, ports).await?;
    while_all_work(&mut ground.work, mesh.synced()).await?;
    addresses.tell();
    Ok(mesh)
}

/// Waits for `awaited`. That a part of `work` ends meanwhile is an error: what is awaited might never
/// come.
async fn while_all_work<T>(
    work: &mut JoinSet<()>,
    awaited: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::select! {
        came = awaited => Ok(came),
        Some(ended) = work.join_next() => {
            ended.context("a part of the control plane failed")?;
            anyhow::bail!("a part of the control plane ended");
        }
    }
}

// === impl Ground ===

impl<'a> Ground<'a> {
    async fn prepare(
        arguments: &'a ServeArgs,
        stop: Stop,
        ports: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let client = match &arguments.source {
            Source::Kubernetes => Some(kubernetes::connect(None).await?),
            Source::Folder(_) => None,
        };
        let replica = arguments.name.clone().unwrap_or_else(host_name);
        let leadership = client
            .as_ref()
            .map(|client| elected::contend(client, arguments, &replica, stop.clone(), ports));
        Ok(Self {
            arguments,
            client,
            leadership,
            replica,
            registry: metrics::registry()?,
            stop,
            work: JoinSet::new(),
        })
    }
}

/// The name the kernel has for this host; in a container that of the pod.
fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match kernel.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_is_awaited_is_not_awaited_when_a_part_ended() {
        let mut work = JoinSet::new();
        work.spawn(pending());
        let came = while_all_work(&mut work, ready(7)).await;
        assert_eq!(came.ok(), Some(7));

        work.spawn(async {});
        let ended = while_all_work(&mut work, pending::<()>()).await;
        let ended = ended.expect_err("an end").to_string();
        assert_eq!(ended, "a part of the control plane ended");

        work.spawn(async { panic!("on purpose") });
        let failed = while_all_work(&mut work, pending::<()>()).await;
        let failed = failed.expect_err("a failure").to_string();
        assert_eq!(failed, "a part of the control plane failed");
    }
}
