//! Bookinfo: a small application of real services, each with its own `meshproxy` beside it.
//!
//! `cargo run --release -p bookinfo` starts all of it on loopback; a person opens the page,
//! edits `routes.yaml` and sees the traffic move. `--check` does the same by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::child::Stop;
use crate::launch::{Bookinfo, Programs};
use crate::layout::{Layout, Routes, replace};
use crate::meshcontrol::{MESHCONTROL, Meshcontrol};
use crate::meshproxy::{MESHPROXY, Meshproxy};
use crate::port::Reservation;
use crate::program::{Product, Program};
use crate::scenario::Scenario;
use crate::service::neighbour::Http;
use crate::terminal::say;

mod check;
mod child;
mod launch;
mod layout;
mod manifest;
mod meshcontrol;
mod meshproxy;
mod page;
mod pod;
mod port;
mod program;
mod ready;
mod scenario;
mod service;
mod sidecar;
mod terminal;
mod watch;
mod welcome;
mod workload;

/// Run the Bookinfo application, with a meshproxy beside each service.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port of the page; another free one is taken when it is not free
    #[arg(long, default_value_t = 9080)]
    port: u16,
    /// Folder for live configuration and logs [default: bookinfo, in the target folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Replace routes.yaml of an earlier run by the first scenario
    #[arg(long)]
    fresh: bool,
    /// Use this meshproxy instead of building the one of this source tree
    #[arg(long, value_name = "FILE")]
    meshproxy: Option<PathBuf>,
    /// Put a control plane in the middle: it alone reads the files, tells every proxy what it needs, and
    /// signs its certificate
    #[arg(long)]
    control: bool,
    /// Use this meshcontrol instead of building the one of this source tree
    #[arg(long, value_name = "FILE", requires = "control")]
    meshcontrol: Option<PathBuf>,
    /// Walk through all scenarios without a person, and exit 0 if everything is as it should be
    #[arg(long)]
    check: bool,
    /// Serve only this workload, at every address and without a proxy: the container of a pod
    #[arg(long, value_name = "WORKLOAD", conflicts_with_all = ["dir", "fresh", "meshproxy", "check"])]
    serve: Option<String>,
}

/// The scenario that the first run starts with: something to see, and two weights to edit.
const FIRST: Scenario = Scenario::Canary;

fn main() -> ExitCode {
    let args = Args::parse();
    // One thread: the services are small, and the children live as long as the thread that
    // started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(until_signal(&args)));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bookinfo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until it is done or a signal comes; the running proxies are stopped either way.
async fn until_signal(args: &Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut stopped = Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    });

    if let Some(workload) = &args.serve {
        pod::serve(workload, args.port, &mut stopped).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let programs = tokio::select! {
        found = programs(args) => found?,
        () = &mut stopped => bail!("stopped before the start"),
    };
    let folder = match &args.dir {
        Some(dir) => dir.clone(),
        None => default_folder()?,
    };
    if args.check {
        let layout = Layout::claim(&folder.join("check"))?;
        let passed = tokio::select! {
            passed = check::run(&programs, layout) => passed?,
            // Dropping the run kills its proxies.
            () = &mut stopped => bail!("stopped before the end of the check"),
        };
        return Ok(exit(passed));
    }
    serve(args, &programs, Layout::claim(&folder)?, &mut stopped).await
}

/// What is to be run: what was named, else what is beside the running program.
async fn programs(args: &Args) -> anyhow::Result<Programs> {
    let meshproxy = program(MESHPROXY, args.meshproxy.as_deref()).await?;
    let meshcontrol = match args.control {
        true => Some(program(MESHCONTROL, args.meshcontrol.as_deref()).await?),
        false => None,
    };
    Ok(Programs {
        meshproxy: Meshproxy(meshproxy),
        meshcontrol: meshcontrol.map(Meshcontrol),
    })
}

async fn program(product: Product, named: Option<&Path>) -> anyhow::Result<Program> {
    match named {
        Some(path) => Program::at(product, path),
        None => Program::locate(product).await,
    }
}

/// Starts everything and serves until a signal comes, or a proxy ends although nobody asked.
async fn serve(
    args: &Args,
    programs: &Programs,
    layout: Layout,
    stopped: &mut (impl Future<Output = ()> + Unpin),
) -> anyhow::Result<ExitCode> {
    if args.fresh {
        replace(&layout.routes(), FIRST.yaml())?;
    }
    let routes = layout.first_routes(FIRST.yaml())?;
    let page = page_port(args.port)?;
    let http = Http::new();
    let mut bookinfo = tokio::select! {
        started = Bookinfo::start(programs, page, layout, &http) => {
            started.with_context(|| match routes {
                Routes::Fresh => "start Bookinfo",
                Routes::Kept => "start Bookinfo with the routes.yaml of an earlier run \
                                 (--fresh replaces it)",
            })?
        }
        () = &mut *stopped => bail!("stopped before everything was ready"),
    };
    say(&welcome::text(&bookinfo, routes));
    let (config, file) = (bookinfo.layout().config(), bookinfo.layout().routes());
    let ended = tokio::select! {
        () = &mut *stopped => Ok(()),
        error = bookinfo.any_end() => Err(error),
        () = watch::comment_edits(&programs.meshproxy, &config, &file) => Ok(()),
    };
    say("\nstopping …");
    let ends = bookinfo.stop().await;
    ended?;
    let bad: Vec<_> = ends.iter().filter(|(_, end)| *end != Stop::Clean).collect();
    for (name, end) in &bad {
        say(&format!("{name} did not stop cleanly: {end:?}"));
    }
    Ok(exit(bad.is_empty()))
}

fn exit(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The port people know, or any other with a word about it.
fn page_port(wanted: u16) -> anyhow::Result<Reservation> {
    match Reservation::of(wanted) {
        Ok(page) => Ok(page),
        Err(error) => {
            say(&format!(
                "port {wanted} cannot be used ({error}); taking a free one"
            ));
            Reservation::any().context("find a free port for the page")
        }
    }
}

/// `bookinfo` in the target folder, which version control ignores.
fn default_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the running program")?;
    let target = own.ancestors().nth(2).context("find the target folder")?;
    Ok(target.join("bookinfo"))
}
