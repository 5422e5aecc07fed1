//! Runs meshproxy beside HAProxy, nginx, Envoy and nghttpx on the same work and prints what each costs.
//!
//! The proxy under test has one core and one worker; the load generator and the upstream share the
//! other core. What is compared is CPU time per request, so neither the speed of the load generator
//! nor other programs on the machine decide. See `README.md` beside this folder.

mod grpc;
mod handshake;
mod identity;
mod load;
mod preflight;
mod process;
mod proxy;
mod report;
mod tcp;
mod usage;
mod work;
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::identity::Identities;
use crate::load::Load;
use crate::preflight::{Tool, Tools};
use crate::process::{Process, free_ports};
use crate::proxy::{Place, Ports, Proxy, Started, start_upstream};
use crate::report::{Metric, Report, Sample};
use crate::work::{Spoken, Work};

/// Load before the measured window, in seconds.
const WARM_UP_SECONDS: u64 = 1;

/// From ready to the look at the idle memory: time for what a program does right after its start.
const SETTLE: Duration = Duration::from_millis(500);

/// More than a proxy may take in a round beside its load; bounds the whole run.
const ROUND_OVERHEAD: Duration = Duration::from_secs(20);

/// Runs meshproxy, HAProxy, nginx, Envoy and nghttpx side by side and prints what a request costs in each.
#[derive(Debug, Parser)]
struct Args {
    /// Kinds of work, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Work::value_variants().to_vec())]
    work: Vec<Work>,
    /// Proxies, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Proxy::value_variants().to_vec())]
    proxy: Vec<Proxy>,
    /// Rounds; in each one every proxy does every work once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Seconds of load in the measured window
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Requests per second of the work `latency`
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Core of the proxy
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core of the load generator and of the upstream
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Write every sample to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Install what is missing first
    #[arg(long)]
    install: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    // The order is fixed, and nothing is measured twice.
    args.work.sort_unstable();
    args.work.dedup();
    args.proxy.sort_unstable();
    args.proxy.dedup();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    ensure!(
        args.proxy_core != args.load_core,
        "--proxy-core and --load-core must differ: the load would slow the proxy"
    );
    let needed = args.tools();
    if args.install {
        Tools::install(&needed)?;
    }
    let tools = Tools::find(&needed)?;
    let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
    // All programs belong to the future `compare`: dropping it ends them.
    let report = tokio::select! {
        report = tokio::time::timeout(args.time_max(), compare(args, &tools)) => {
            report.with_context(|| format!("not done after {:?}", args.time_max()))??
        }
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    let header = header(args, &tools);
    if let Some(file) = &args.json {
        let text = format!("{:#}\n", report.json(&header));
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let text = report.markdown(&header);
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print the tables")
}

/// All rounds. Dropping the future kills every program it has started.
async fn compare(args: &Args, tools: &Tools) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("compare-")
        .tempdir()
        .context("make a folder")?;
    let needs_grpc = args.work.iter().any(|work| work.upstream() == Spoken::Grpc);
    let service = needs_grpc.then(|| grpc::Service::start(args.load_core));
    let service = service.transpose().context("start the gRPC service")?;
    let needs_tcp = args
        .work
        .iter()
        .any(|work| work.upstream() == Spoken::Opaque);
    let opaque = needs_tcp.then(|| tcp::Service::start(args.load_core));
    let opaque = opaque.transpose().context("start the TCP service")?;
    if args.work.contains(&Work::TcpIdle) {
        // What is started from now on inherits it.
        tcp::Resting::prepare()?;
    }
    let identities = Identities::write(&folder.path().join("identities"))?;
    let [http1, http2] = free_ports()?;
    let place = Place {
        core: args.load_core,
        upstreams: Ports {
            http1,
            http2,
            grpc: service.as_ref().map(grpc::Service::port),
            tcp: opaque.as_ref().map(tcp::Service::port),
        },
        identities: &identities,
        tools,
        folder: folder.path(),
    };
    let _upstream = start_upstream(place).await?;
    let mut report = Report::default();
    for round in 1..=args.rounds {
        for &work in &args.work {
            let direct = (work == Work::Latency).then_some(Proxy::Direct);
            let proxies = args.proxy.iter().copied();
            let able = proxies.filter(|proxy| proxy.missing_from(work).is_none());
            for proxy in direct.into_iter().chain(able) {
                let sample = measure(args, (proxy, work), place)
                    .await
                    .with_context(|| format!("{} on {}", proxy.name(), work.name()))?;
                let cpu = sample.get(&Metric::Cpu);
                let cpu = cpu.map(|us| format!("{us:.2} µs/request"));
                let of_bytes = sample.get(&Metric::CpuOfBytes);
                let of_bytes = of_bytes.map(|seconds| format!("{seconds:.3} s/GiB"));
                let cpu = cpu.or(of_bytes).unwrap_or_default();
                let (work_name, name) = (work.name(), proxy.name());
                eprintln!(
                    "round {round}/{} {work_name:11} {name:10} {cpu}",
                    args.rounds
                );
                report.add(work, proxy, sample);
            }
        }
    }
    Ok(report)
}

/// One proxy on one work, from its start to its end. `upstream` is the place of the upstream.
async fn measure(args: &Args, (proxy, work): (Proxy, Work), upstream: Place<'_>) -> Result<Sample> {
    let folder = tempfile::tempdir_in(upstream.folder).context("make a folder")?;
    let place = Place {
        core: args.proxy_core,
        folder: folder.path(),
        ..upstream
    };
    let Started { processes, port } = proxy.start(work, place).await?;
    let (mut pids, mut sample) = (Vec::new(), Sample::new());
    if !processes.is_empty() {
        // Some accept connections before their workers run; later on none starts anything.
        tokio::time::sleep(SETTLE).await;
        pids = processes.iter().flat_map(Process::tree).collect();
        let memory = usage::memory(&pids)?;
        sample.insert(Metric::IdleResident, mib(memory.resident_kib));
        sample.insert(Metric::IdleAnonymous, mib(memory.anonymous_kib));
    }
    if work == Work::Idle {
        return Ok(sample);
    }
    if work == Work::TcpIdle {
        let count = tcp::Resting::prepare()?;
        let each = memory_of_resting((port, count), &pids).await?;
        sample.insert(Metric::RestingConnection, each);
        return Ok(sample);
    }
    let (core, rate, tools) = (args.load_core, args.rate, upstream.tools);
    let load = Load {
        work,
        port,
        core,
        rate,
        identities: upstream.identities,
        tools,
        folder: folder.path(),
    };
    if work == Work::Grpc {
        grpc::check(port).await.context("look at one call")?;
    }
    load.run(WARM_UP_SECONDS).await.context("warm up")?;

    let before = usage::cpu(&pids)?;
    let three_quarters = Duration::from_millis(args.seconds * 750);
    let (outcome, memory) = tokio::join!(load.run(args.seconds), async {
        tokio::time::sleep(three_quarters).await;
        usage::memory(&pids)
    });
    let (outcome, memory) = (outcome?, memory?);
    let used = usage::cpu(&pids)?.saturating_sub(before);

    let (of_load, cpu) = match work.downstream() {
        Spoken::Opaque => (
            Metric::ByteRate,
            (Metric::CpuOfBytes, used.as_secs_f64() / outcome.requests),
        ),
        Spoken::Http1 | Spoken::Http2 | Spoken::Grpc => (
            Metric::Rate,
            (Metric::Cpu, used.as_secs_f64() * 1e6 / outcome.requests),
        ),
    };
    sample.insert(of_load, outcome.requests / outcome.seconds);
    if let Some((p50, p99)) = outcome.p50_p99_us {
        sample.insert(Metric::P50, p50);
        sample.insert(Metric::P99, p99);
    }
    if !processes.is_empty() {
        ensure!(outcome.requests > 0.0, "not one request was answered");
        sample.insert(cpu.0, cpu.1);
        sample.insert(Metric::LoadResident, mib(memory.resident_kib));
        sample.insert(Metric::LoadAnonymous, mib(memory.anonymous_kib));
    }
    Ok(sample)
}

/// Memory of each of `count` connections that rest, in KiB.
async fn memory_of_resting((port, count): (u16, usize), pids: &[u32]) -> Result<f64> {
    let before = usage::memory(pids)?;
    let resting = tcp::Resting::open(port, count).context("open connections")?;
    // What was of use for opening them is given back.
    tokio::time::sleep(SETTLE).await;
    let after = usage::memory(pids)?;
    drop(resting);
    let grown = after.anonymous_kib.saturating_sub(before.anonymous_kib);
    Ok(mib(grown) * 1024.0 / count as f64)
}

/// Where and with what was measured.
fn header(args: &Args, tools: &Tools) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let cores = available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let (rounds, seconds) = (args.rounds, args.seconds);
    let mut lines = vec![
        format!("{model}, {cores} cores, Linux {}", kernel.trim()),
        format!(
            "median (min–max) of {rounds} rounds of {seconds} s; {} requests/s in latency",
            args.rate
        ),
    ];
    lines.extend(args.proxy.iter().filter_map(|proxy| {
        Some(format!(
            "{}: {}",
            proxy.name(),
            tools.version(proxy.tool()?)
        ))
    }));
    let pairs = args.work.iter().flat_map(|&work| {
        let proxies = args.proxy.iter();
        proxies.map(move |&proxy| (work, proxy))
    });
    lines.extend(pairs.filter_map(|(work, proxy)| {
        let why = proxy.missing_from(work)?;
        Some(format!("not in {}: {}, {why}", work.name(), proxy.name()))
    }));
    lines
}

/// KiB as MiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory in KiB is far below 2^52"
)]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

// === impl Args ===

impl Args {
    /// The programs that the chosen work needs.
    fn tools(&self) -> BTreeSet<Tool> {
        let loads = self.work.iter().filter_map(|work| match work {
            Work::Http1 | Work::Http1Rules | Work::Http1Guarded | Work::Connection | Work::Hop => {
                Some(Tool::Wrk)
            }
            Work::Http2ToHttp1 | Work::Http2ToHttp2 | Work::Grpc => Some(Tool::H2load),
            Work::Latency => Some(Tool::Oha),
            Work::Handshake | Work::Tcp | Work::TcpIdle | Work::Idle => None,
        });
        let proxies = self.proxy.iter().filter_map(|proxy| proxy.tool());
        [Tool::Taskset, Tool::Nginx]
            .into_iter()
            .chain(loads)
            .chain(proxies)
            .collect()
    }

    /// Longest time that the whole run may take.
    fn time_max(&self) -> Duration {
        let load = Duration::from_secs(self.seconds + WARM_UP_SECONDS);
        let cells = self.rounds * (self.work.len() * (self.proxy.len() + 1)) as u64;
        let cells = u32::try_from(cells).unwrap_or(u32::MAX);
        (load + ROUND_OVERHEAD).saturating_mul(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_and_every_proxy_is_the_default() {
        let args = Args::parse_from(["compare"]);
        assert_eq!(args.work.len(), 13);
        let all = [
            Proxy::Meshproxy,
            Proxy::Haproxy,
            Proxy::Nginx,
            Proxy::Envoy,
            Proxy::Nghttpx,
        ];
        assert_eq!(args.proxy, all);
    }

    #[test]
    fn only_what_the_chosen_work_needs_must_be_installed() {
        let args = Args::parse_from(["compare", "--work", "http1", "--proxy", "haproxy"]);
        let needed = [Tool::Taskset, Tool::Haproxy, Tool::Nginx, Tool::Wrk];
        assert_eq!(args.tools(), BTreeSet::from(needed));
    }
}
