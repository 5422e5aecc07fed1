//! The command line: what was typed (`Cli`), and what we run on (`Settings`).
//!
//! Every flag can also be set by `MESHPROXY_<NAME>`. What cannot be used is a usage error with exit
//! code 2, before anything is opened or started.

mod control;
mod dev_certs;
mod dns;
mod explain;
mod iptables;
mod lifecycle;
mod limits;
mod migrate;
#[cfg(test)]
mod tests;
mod value;
mod wait;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use config::ip_block::IpBlock;

use crate::dns_proxy;
use crate::probes::AppProbes;
use crate::request::explain::Network;
use crate::request::limits::Limits;
use crate::request::path::Normalization;
use crate::source;
use control::ControlArgs;
pub use dev_certs::{Account, DevCertsArgs, ServerNames};
use dns::DnsArgs;
pub use explain::ExplainArgs;
pub use iptables::{Action, Backend, Capture, Dns, Interface, IptablesArgs, OWN_PORTS, Selection};
pub use lifecycle::{Capacity, Lifecycle};
use lifecycle::{CapacityArgs, LifecycleArgs};
use limits::LimitArgs;
pub use migrate::MigrateArgs;
pub use value::Locality;
use value::{labels, log_filter, name, namespace, span, trust_domain, workers};
pub use wait::WaitArgs;

/// Workers when nothing is said, as far as there are cores.
const DEFAULT_WORKERS_MAX: usize = 2;

/// What to do.
#[derive(Debug)]
pub enum Invocation {
    /// Be a proxy.
    Run(Box<Settings>),
    /// Check files and exit.
    Check(CheckArgs),
    /// Say what would become of a request and exit.
    Explain(Box<ExplainArgs>),
    /// Test configuration and exit.
    Test(TestArgs),
    /// Make certificates for laptops and exit.
    DevCerts(DevCertsArgs),
    /// Migrate files and exit.
    Migrate(MigrateArgs),
    /// Wait until a proxy is ready and exit.
    Wait(WaitArgs),
    /// Install or remove rules that capture traffic, and exit.
    Iptables(IptablesArgs),
}

/// What a proxy runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Files and folders with the configuration; at least one, unless a control plane tells it.
    pub config: Vec<PathBuf>,
    /// The control plane that tells the configuration, if it is not in files.
    pub control: Option<source::control::Settings>,
    /// Namespace of this proxy, and of documents that name none.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// Name of its pod, by which a control plane knows it.
    pub pod: String,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
    /// Service account of the workload.
    pub service_account: String,
    /// Trust domain of identities.
    pub trust_domain: String,
    /// Trust domains whose workloads are believed like those of our own.
    pub trust_domain_aliases: Vec<String>,
    /// Folder with certificate, key and authorities of the workload, if it has them.
    pub identity_dir: Option<PathBuf>,
    /// Name of the cluster.
    pub cluster: String,
    /// Where the workload is, if that is known.
    pub locality: Option<Locality>,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Address of gateway listeners, and of sidecar listeners that name none.
    pub bind: IpAddr,
    /// Whether it takes captured traffic.
    pub capture: bool,
    /// Address of the admin server.
    pub admin_addr: SocketAddr,
    /// Address of the metrics server.
    pub metrics_addr: SocketAddr,
    /// Address of the health server.
    pub health_addr: SocketAddr,
    /// Probes of the application that are led to the health server.
    pub app_probes: AppProbes,
    /// How names are answered to the workload, if they are.
    pub dns: Option<dns_proxy::Settings>,
    /// How long nothing may pass in a request; none for ever.
    pub stream_idle_timeout: Option<Duration>,
    /// Whether and how requests are logged.
    pub access_log: AccessLog,
    /// Networks whose callers may know what became of their requests.
    pub explain_from: Vec<Network>,
    /// Networks whose connections to gateways begin with a header of the PROXY protocol.
    pub proxy_protocol_from: Vec<IpBlock>,
    /// A valid filter for the proxy's own log.
    pub log: String,
    /// Limits of requests and clients.
    pub limits: Limits,
    /// How it stops and is replaced.
    pub lifecycle: Lifecycle,
    /// How much it may take.
    pub capacity: Capacity,
}

/// Whether and how requests are logged to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// Not at all.
    Off,
    /// A line of text per request.
    Text,
    /// A line of JSON per request.
    Json,
}

/// How what is found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A service mesh data plane, configured by Istio's YAML.
#[derive(Debug, Parser)]
#[command(
    name = "meshproxy",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "Every flag can also be set in the environment, as MESHPROXY_ and its name: \
                  --admin-addr is MESHPROXY_ADMIN_ADDR.\n\
                  Signals: SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP \
                  reads the configuration again; SIGUSR2 starts the program anew in its place, \
                  without a connection refused.\n\
                  Exit codes: 0 stopped cleanly, 1 configuration or start-up error, 2 usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every problem of configuration files; exit 1 if there are errors.
    Check(CheckArgs),
    /// Say what would become of a request, and why: which rule takes it and why not the others.
    ///
    /// Exit codes: 0 a rule takes it, 3 none does, 1 the configuration has errors, 2 usage.
    Explain(Box<explain::Typed>),
    /// Test configuration: whether requests would go where files of tests expect them.
    ///
    /// Exit codes: 0 all tests pass, 1 one fails or a file has errors, 2 usage.
    Test(TestArgs),
    /// Make a root and certificates of workloads and gateways, to try TLS on a laptop. Run again, it
    /// keeps the root and renews the certificates.
    ///
    /// Exit codes: 0 all were made, 1 one could not be made, 2 usage.
    DevCerts(DevCertsArgs),
    /// Turn retired forms (old RBAC, destination policies, quotas of Mixer, authentication policies)
    /// into today's resources. Everything else passes through.
    ///
    /// Exit codes: 0 all was carried over, 3 something was not, 1 the files have errors, 2 usage.
    Migrate(MigrateArgs),
    /// Wait until a proxy is ready: for what must not start before it.
    ///
    /// Exit codes: 0 it is ready, 1 it is not in time, 2 usage.
    Wait(WaitArgs),
    /// Capture the traffic of this network namespace for a proxy that runs with --capture: what leaves
    /// it, and what arrives. Run again, it replaces what it installed; --clean removes it.
    ///
    /// Flags, defaults and variables are those of Istio's init container.
    Iptables(Box<iptables::Typed>),
}

/// Arguments of `meshproxy check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Files or folders of YAML or JSON.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// How problems are printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    /// Namespace of documents that name none.
    #[arg(long, env = "MESHPROXY_NAMESPACE", default_value = "default", value_parser = namespace)]
    pub namespace: String,
    /// How far the proxies bring paths to normal form, which policies count on.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "MESHPROXY_PATH_NORMALIZATION",
        default_value = "base"
    )]
    pub path_normalization: Normalization,
}

/// Arguments of `meshproxy test`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TestArgs {
    /// Files of tests, which name the configuration that they are about.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How the result is printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// File or folder of YAML or JSON; may be given more than once. Changes are live within a
    /// second. Several in the environment are separated by commas.
    #[arg(
        long,
        value_name = "PATH",
        env = "MESHPROXY_CONFIG",
        required_unless_present = "control",
        value_delimiter = ','
    )]
    config: Vec<PathBuf>,
    /// Worker threads [default: 2, or 1 on a single core].
    #[arg(long, value_name = "N", env = "MESHPROXY_WORKERS", value_parser = workers)]
    workers: Option<NonZeroUsize>,
    /// How long nothing may pass, in either direction, in a request that is under way; 0 for ever.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MESHPROXY_STREAM_IDLE_TIMEOUT",
        default_value = "1h",
        value_parser = span
    )]
    stream_idle_timeout: Duration,
    /// Take traffic that `meshproxy iptables` captures: what the workload sends at port 15001, what is
    /// sent to it at port 15006.
    #[arg(long, env = "MESHPROXY_CAPTURE")]
    capture: bool,
    /// Probes of the application by the paths of the health server that they were led to, as JSON.
    /// ISTIO_KUBE_APP_PROBERS is read, too.
    #[arg(long, value_name = "JSON", env = "MESHPROXY_APP_PROBES")]
    app_probes: Option<AppProbes>,
    /// The same from Istio's injector.
    #[arg(long, env = "ISTIO_KUBE_APP_PROBERS", hide = true)]
    istio_app_probes: Option<AppProbes>,
    /// Log of requests on stdout.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        env = "MESHPROXY_ACCESS_LOG",
        default_value = "off"
    )]
    access_log: AccessLog,
    /// Networks whose callers may ask with `x-meshproxy-explain: 1` what became of a request. The
    /// answer has addresses and names of the mesh: name nobody who must not know them.
    #[arg(
        long,
        value_name = "CIDR,...",
        env = "MESHPROXY_EXPLAIN_FROM",
        value_delimiter = ','
    )]
    explain_from: Vec<Network>,
    /// Networks of load balancers whose connections to gateways begin with a header of the PROXY
    /// protocol. They must have one, and what it says of the caller is believed: name no network that
    /// callers reach us from by themselves.
    #[arg(
        long,
        value_name = "CIDR,...",
        env = "MESHPROXY_PROXY_PROTOCOL_FROM",
        value_delimiter = ','
    )]
    proxy_protocol_from: Vec<IpBlock>,
    /// What the proxy itself logs on stderr: a level, or levels by module.
    #[arg(long, value_name = "FILTER", env = "MESHPROXY_LOG", default_value = "info", value_parser = log_filter)]
    log: String,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    addresses: AddressArgs,
    #[command(flatten)]
    dns: DnsArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    lifecycle: LifecycleArgs,
    #[command(flatten)]
    capacity: CapacityArgs,
}

/// Who this proxy is: what rules about sources and workloads compare with, and metrics say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who this proxy is")]
struct WorkloadArgs {
    /// Namespace of the workload, and of documents that name none.
    #[arg(long, env = "MESHPROXY_NAMESPACE", default_value = "default", value_parser = namespace)]
    namespace: String,
    /// Name of the workload [default: the host name].
    #[arg(long, env = "MESHPROXY_NAME", value_parser = name)]
    name: Option<String>,
    /// Name of its pod, by which a control plane knows the workload [default: --name].
    #[arg(long, value_name = "NAME", env = "MESHPROXY_POD", value_parser = name)]
    pod: Option<String>,
    /// Labels of the workload.
    #[arg(long, value_name = "a=b,c=d", env = "MESHPROXY_LABELS", value_parser = labels)]
    labels: Option<BTreeMap<String, String>>,
    /// Service account of the workload.
    #[arg(long, value_name = "NAME", env = "MESHPROXY_SERVICE_ACCOUNT", default_value = "default", value_parser = name)]
    service_account: String,
    /// Trust domain of identities.
    #[arg(long, value_name = "DOMAIN", env = "MESHPROXY_TRUST_DOMAIN", default_value = "cluster.local", value_parser = name)]
    trust_domain: String,
    /// Trust domains whose workloads are believed like those of our own, such as one from before a
    /// migration.
    #[arg(
        long,
        value_name = "DOMAIN,...",
        env = "MESHPROXY_TRUST_DOMAIN_ALIASES",
        value_delimiter = ',',
        value_parser = trust_domain
    )]
    trust_domain_aliases: Vec<String>,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem, by which the workload proves who it is
    /// and believes others. Changes are live within a second.
    #[arg(long, value_name = "DIR", env = "MESHPROXY_IDENTITY_DIR")]
    identity_dir: Option<PathBuf>,
    /// Name of the cluster.
    #[arg(long, value_name = "NAME", env = "MESHPROXY_CLUSTER", default_value = "Kubernetes", value_parser = name)]
    cluster: String,
    /// Where the workload is.
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", env = "MESHPROXY_LOCALITY")]
    locality: Option<Locality>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where it listens")]
struct AddressArgs {
    /// Address of Gateway listeners, and of Sidecar listeners that name none.
    #[arg(
        long,
        value_name = "IP",
        env = "MESHPROXY_BIND",
        default_value = "0.0.0.0"
    )]
    bind: IpAddr,
    /// Admin: what is loaded and how it goes, as JSON.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHPROXY_ADMIN_ADDR",
        default_value = "127.0.0.1:15000"
    )]
    admin_addr: SocketAddr,
    /// Prometheus metrics: GET /metrics.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHPROXY_METRICS_ADDR",
        default_value = "0.0.0.0:15090"
    )]
    metrics_addr: SocketAddr,
    /// Health: GET /healthz/ready and /healthz/live.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHPROXY_HEALTH_ADDR",
        default_value = "0.0.0.0:15021"
    )]
    health_addr: SocketAddr,
}

// === impl Invocation ===

impl Invocation {
    /// Reads a command line; its first argument is the name of the program.
    ///
    /// # Errors
    ///
    /// A usage error, or the help or version text that was asked for: `clap::Error::exit` prints
    /// each and exits with the right code.
    pub fn parse(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Cli::try_parse_from(arguments)?;
        match cli.command {
            Some(Command::Check(check)) => Ok(Self::Check(check)),
            Some(Command::Test(test)) => Ok(Self::Test(test)),
            Some(Command::DevCerts(arguments)) => Ok(Self::DevCerts(arguments)),
            Some(Command::Migrate(arguments)) => Ok(Self::Migrate(arguments)),
            Some(Command::Wait(arguments)) => Ok(Self::Wait(arguments)),
            Some(Command::Iptables(typed)) => typed.arguments().map(Self::Iptables),
            Some(Command::Explain(typed)) => {
                let arguments = typed.arguments()?;
                Ok(Self::Explain(Box::new(arguments)))
            }
            None => cli
                .run
                .settings()
                .map(|settings| Self::Run(Box::new(settings))),
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Whether certificates come from the control plane: where it is spoken to in TLS, and none are
    /// there.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        let control = self.control.as_ref();
        let is_secure = control.is_some_and(|it| it.replicas.iter().all(|it| it.secure));
        is_secure && self.identity_dir.is_none()
    }
}

// === impl RunArgs ===

impl RunArgs {
    fn settings(self) -> Result<Settings, clap::Error> {
        let Self {
            workload,
            addresses,
            ..
        } = self;
        let name = workload.name.unwrap_or_else(host_name);
        Ok(Settings {
            config: self.config,
            control: self.control.settings()?,
            namespace: workload.namespace,
            pod: workload.pod.unwrap_or_else(|| name.clone()),
            name,
            labels: workload.labels.unwrap_or_default(),
            service_account: workload.service_account,
            trust_domain: workload.trust_domain,
            trust_domain_aliases: workload.trust_domain_aliases,
            identity_dir: workload.identity_dir,
            cluster: workload.cluster,
            locality: workload
                .locality
                .filter(|locality| !locality.region.is_empty()),
            workers: self.workers.unwrap_or_else(default_workers),
            bind: addresses.bind,
            capture: self.capture,
            admin_addr: addresses.admin_addr,
            metrics_addr: addresses.metrics_addr,
            health_addr: addresses.health_addr,
            app_probes: self
                .app_probes
                .or(self.istio_app_probes)
                .unwrap_or_default(),
            dns: self.dns.settings(),
            stream_idle_timeout: Some(self.stream_idle_timeout).filter(|it| !it.is_zero()),
            access_log: self.access_log,
            explain_from: self.explain_from,
            proxy_protocol_from: self.proxy_protocol_from,
            log: self.log,
            limits: self.limits.limits(),
            lifecycle: self.lifecycle.lifecycle(),
            capacity: self.capacity.capacity(),
        })
    }
}

/// A usage error that clap does not find by itself.
fn usage(kind: ErrorKind, message: impl std::fmt::Display) -> clap::Error {
    Cli::command().error(kind, message)
}

fn default_workers() -> NonZeroUsize {
    let most = NonZeroUsize::MIN.saturating_add(DEFAULT_WORKERS_MAX - 1);
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(most))
}

/// The name the kernel has for this host; in a container that of the pod.
fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match kernel.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
