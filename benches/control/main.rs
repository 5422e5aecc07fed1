//! What a control plane costs that feeds a thousand proxies, and how long a change takes to reach them.
//!
//! The control plane is a process of its own, so that its memory and CPU time are its own; the proxies
//! are simulated in this one, each with a connection of its own over loopback. See `README.md` beside
//! this folder.

mod client;
mod mesh;
mod proxy;
mod server;
#[path = "../compare/usage.rs"]
#[allow(dead_code, reason = "half of it is for the comparison")]
mod usage;

use std::collections::{BTreeSet, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use client::{Client, Told};
use mesh::Size;
use proxy::Proxy;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long it is looked whether somebody is told who should not be.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Measures the control plane with simulated proxies.
#[derive(Debug, Parser)]
struct Args {
    /// Proxies
    #[arg(long, default_value_t = 1_000)]
    proxies: usize,
    /// Hosts that each of them uses
    #[arg(long, default_value_t = 20)]
    hosts: usize,
    /// Services
    #[arg(long, default_value_t = 5_000)]
    services: usize,
    /// Endpoints of each service
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// VirtualServices: one for each service, the others for hosts outside
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Changes of endpoints, and a fifth as many of routes
    #[arg(long, default_value_t = 50)]
    changes: usize,
    /// The proxy whose memory is measured [default: the one that was built beside this]
    #[arg(long)]
    meshproxy: Option<PathBuf>,
    /// Be the control plane, and have the real proxy listen here
    #[arg(long, hide = true)]
    serve: Option<u16>,
}

/// The control plane.
struct Control {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// One change.
struct Change {
    /// For the control plane.
    command: String,
    /// What proxies are told that have it.
    name: String,
    subscribers: HashSet<usize>,
}

/// What came of a change.
struct Outcome {
    subscribers: usize,
    latencies: Vec<Duration>,
    /// Proxies that were told something although they do not have it.
    strangers: usize,
    woken: u64,
    cpu: Duration,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(port) = args.serve {
        return server::run(Size {
            services: args.services,
            endpoints_each: args.endpoints,
            routes: args.routes,
            port,
        });
    }
    let runtime = tokio::runtime::Runtime::new().context("make a runtime")?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let program = proxy::program(args.meshproxy.as_deref())?;
    let port = proxy::free_port()?;
    let begun = Instant::now();
    let mut control = Control::start(port)?;
    let (sender, mut told) = mpsc::unbounded_channel();
    let clients: Vec<Client> = (0..args.proxies)
        .map(|number| client(args, number))
        .collect();
    let mut following = JoinSet::new();
    for client in clients.clone() {
        let (address, sender) = (control.address, sender.clone());
        following.spawn(async move {
            if let Err(error) = client.follow(address, sender).await {
                eprintln!("client: {error:#}");
            }
        });
    }
    all_have(&mut told, args.proxies).await?;
    let pid = [control.child.id()];
    let seconds = |span: Duration| format!("{:.1} s", span.as_secs_f64());
    let resident = || Ok::<_, anyhow::Error>(usage::memory(&pid)?.resident_kib / 1024);
    say("| | |\n|---|---|")?;
    let what = format!("start until {} proxies have all", args.proxies);
    row(&what, &seconds(begun.elapsed()))?;
    row(
        "CPU of the control plane until then",
        &seconds(usage::cpu(&pid)?),
    )?;
    row("its memory", &format!("{} MiB", resident()?))?;
    let rng = &mut fastrand::Rng::with_seed(7);
    for (what, word, changes) in [
        ("endpoints", "endpoints", args.changes),
        ("a VirtualService", "route", args.changes / 5),
    ] {
        let mut outcomes = Vec::new();
        for turn in 1..=changes {
            let service = used(&clients, rng);
            let change = Change {
                command: format!("{word} {service} {turn}"),
                name: match word {
                    "route" => mesh::route_name(service),
                    _ => mesh::slice_name(service),
                },
                subscribers: subscribers(&clients, service),
            };
            outcomes.push(change.make(&mut control, &mut told).await?);
        }
        report(what, &outcomes)?;
    }
    row("its memory at the end", &format!("{} MiB", resident()?))?;
    one_proxy(&program, control.address, port, args).await?;
    following.abort_all();
    control.child.kill().context("stop the control plane")?;
    control.child.wait().context("wait for its end")?;
    Ok(())
}

/// Has a real proxy use as many hosts as the simulated ones.
async fn one_proxy(program: &Path, control: SocketAddr, port: u16, args: &Args) -> Result<()> {
    let hosts = client(args, args.proxies).hosts;
    let proxy = Proxy::using(program, control, port, &hosts).await?;
    let memory = proxy.memory()?;
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    let what = format!(
        "memory of a meshproxy that uses {} hosts ({} threads)",
        hosts.len(),
        proxy.threads()?
    );
    row(&what, &mib(memory.resident_kib))?;
    row("of that, backed by no file", &mib(memory.anonymous_kib))
}

/// Waits until every proxy was answered.
async fn all_have(told: &mut mpsc::UnboundedReceiver<Told>, proxies: usize) -> Result<()> {
    let mut waiting: HashSet<usize> = (0..proxies).collect();
    while !waiting.is_empty() {
        let one = timeout(WAIT_MAX, told.recv()).await;
        let one = one.context("wait for answers")?.context("proxies end")?;
        if one.names.iter().any(|name| name.starts_with("host:")) {
            waiting.remove(&one.client);
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("print")
}

fn row(what: &str, value: &str) -> Result<()> {
    say(&format!("| {what} | {value} |"))
}

fn client(args: &Args, number: usize) -> Client {
    let mut rng = fastrand::Rng::with_seed(number as u64);
    let mut services = BTreeSet::new();
    while services.len() < args.hosts.min(args.services) {
        services.insert(rng.usize(..args.services));
    }
    Client {
        number,
        namespace: format!("ns-{}", number % mesh::NAMESPACES),
        hosts: services.into_iter().map(mesh::host).collect(),
    }
}

/// A service that somebody uses.
fn used(clients: &[Client], rng: &mut fastrand::Rng) -> usize {
    let client = &clients[rng.usize(..clients.len())];
    let host = &client.hosts[rng.usize(..client.hosts.len())];
    let number = host
        .strip_prefix("svc-")
        .and_then(|it| it.split('.').next());
    number.and_then(|it| it.parse().ok()).unwrap_or_default()
}

fn subscribers(clients: &[Client], service: usize) -> HashSet<usize> {
    let host = mesh::host(service);
    let users = clients.iter().filter(|client| client.hosts.contains(&host));
    users.map(|client| client.number).collect()
}

// === impl Change ===

impl Change {
    /// Makes it, and waits until all who have it were told.
    async fn make(
        &self,
        control: &mut Control,
        told: &mut mpsc::UnboundedReceiver<Told>,
    ) -> Result<Outcome> {
        let pid = [control.child.id()];
        let woken = control.woken()?;
        let cpu = usage::cpu(&pid)?;
        let begun = Instant::now();
        control.tell(&self.command)?;
        let mut waiting = self.subscribers.clone();
        let mut outcome = Outcome {
            subscribers: self.subscribers.len(),
            latencies: Vec::new(),
            strangers: 0,
            woken: 0,
            cpu: Duration::ZERO,
        };
        let ends = begun + WAIT_MAX;
        loop {
            let rest = match waiting.is_empty() {
                true => AFTERWARDS,
                false => ends.saturating_duration_since(Instant::now()),
            };
            let Ok(one) = timeout(rest, told.recv()).await else {
                break;
            };
            let one = one.context("proxies end")?;
            let is_it = one.names.contains(&self.name);
            if is_it && waiting.remove(&one.client) {
                outcome.latencies.push(one.at - begun);
            } else {
                outcome.strangers += 1;
            }
        }
        ensure!(
            waiting.is_empty(),
            "{}: {} proxies are not told",
            self.command,
            waiting.len()
        );
        outcome.cpu = usage::cpu(&pid)?.saturating_sub(cpu);
        outcome.woken = control.woken()? - woken;
        Ok(outcome)
    }
}

fn report(what: &str, outcomes: &[Outcome]) -> Result<()> {
    let mut latencies: Vec<Duration> = outcomes
        .iter()
        .flat_map(|it| it.latencies.clone())
        .collect();
    latencies.sort_unstable();
    let at = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        let latency = latencies.get(place.min(latencies.len().saturating_sub(1)));
        latency.map_or(0.0, |it| it.as_secs_f64() * 1000.0)
    };
    let count = outcomes.len().max(1) as f64;
    let subscribers: usize = outcomes.iter().map(|it| it.subscribers).sum();
    let woken: u64 = outcomes.iter().map(|it| it.woken).sum();
    let strangers: usize = outcomes.iter().map(|it| it.strangers).sum();
    let cpu: Duration = outcomes.iter().map(|it| it.cpu).sum();
    let cpu_ms = cpu.as_secs_f64() * 1000.0 / count;
    let spans = format!("{:.0} / {:.0} / {:.0} ms", at(0.5), at(0.99), at(1.0));
    row(&format!("changes of {what}"), &outcomes.len().to_string())?;
    let average = |total: f64| format!("{:.1}", total / count);
    row(
        "proxies that have it, on average",
        &average(subscribers as f64),
    )?;
    row("until it is there, p50 / p99 / most", &spans)?;
    row("proxies woken, on average", &average(woken as f64))?;
    row(
        "responses to proxies that do not have it",
        &strangers.to_string(),
    )?;
    row("CPU for a change", &format!("{cpu_ms:.1} ms"))
}

// === impl Control ===

impl Control {
    fn start(port: u16) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .args(["--serve", &port.to_string()])
            .args(std::env::args().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the control plane")?;
        let commands = child.stdin.take().context("its stdin")?;
        let mut answers = BufReader::new(child.stdout.take().context("its stdout")?);
        let mut port = String::new();
        answers.read_line(&mut port).context("read its port")?;
        let port = port.trim().parse().context("its port")?;
        Ok(Self {
            child,
            commands,
            answers,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        })
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}").context("tell the control plane")
    }

    /// How often a proxy was woken by now.
    fn woken(&mut self) -> Result<u64> {
        self.tell("woken")?;
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .context("read its answer")?;
        line.trim().parse().context("a number")
    }
}
