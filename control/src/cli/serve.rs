//! Arguments of `meshcontrol serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use authority::ServerName;
use clap::Args;
use clap::error::ErrorKind;

use super::value::{account, audience, label, lifetime, log_filter, silence, trust_domain};

/// Arguments of `meshcontrol serve`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ServeArgs {
    /// Where the mesh is described: `kubernetes`, or `dir:` and the path of a folder (or file) of YAML.
    #[arg(long, value_name = "kubernetes|dir:PATH", env = "MESHCONTROL_SOURCE")]
    pub source: Source,
    /// Folder for keys, with `--source dir:` only; it and they are for their owner alone.
    #[arg(long, value_name = "DIR", env = "MESHCONTROL_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Namespace of the control plane, which is the root namespace of configuration, too.
    #[arg(long, value_name = "NAME", env = "MESHCONTROL_NAMESPACE", default_value = "istio-system", value_parser = label)]
    pub namespace: String,
    /// Namespaces whose Secrets are read, for certificates of gateways, with `--source kubernetes`
    /// [default: all].
    #[arg(
        long,
        value_name = "NAME,...",
        env = "MESHCONTROL_SECRET_NAMESPACES",
        value_delimiter = ',',
        value_parser = label
    )]
    pub secret_namespaces: Vec<String>,
    /// How long the API server may be silent before this replica is not ready and takes no new proxies,
    /// with `--source kubernetes`: what it knows may be old, and another may know better. 10s to 1h.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MESHCONTROL_API_SILENCE_MAX",
        default_value = "120s",
        value_parser = silence
    )]
    pub api_silence_max: Duration,
    /// Name of the Service in front of the control plane, by which proxies know it.
    #[arg(long, value_name = "NAME", env = "MESHCONTROL_SERVICE", default_value = "meshcontrol", value_parser = label)]
    pub service: String,
    /// Name of the cluster.
    #[arg(long, value_name = "NAME", env = "MESHCONTROL_CLUSTER", default_value = "Kubernetes", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// Name of this replica, by which others know it [default: the host name].
    #[arg(long, value_name = "NAME", env = "MESHCONTROL_NAME", value_parser = account)]
    pub name: Option<String>,
    /// Folder with `template.yaml` and `values.yaml`: what is added to pods, with `--source kubernetes`. A
    /// file that is not there is the one of the chart.
    #[arg(
        long,
        value_name = "DIR",
        env = "MESHCONTROL_INJECTION_DIR",
        default_value = "/etc/meshcontrol/injection"
    )]
    pub injection_dir: PathBuf,
    /// What is logged on stderr: a level, or levels by module. What was signed for whom has the
    /// target `audit`.
    #[arg(long, value_name = "FILTER", env = "MESHCONTROL_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// Where it listens.
    #[command(flatten)]
    pub addresses: AddressArgs,
    /// Whom it believes and what it signs.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Where it listens")]
pub struct AddressArgs {
    /// Configuration and certificates, over TLS.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHCONTROL_ADDR",
        default_value = "0.0.0.0:15012"
    )]
    pub addr: SocketAddr,
    /// Configuration without TLS, believing what proxies say of themselves: for networks where nobody
    /// else is [default: off].
    #[arg(long, value_name = "IP:PORT", env = "MESHCONTROL_PLAIN_ADDR")]
    pub plain_addr: Option<SocketAddr>,
    /// Webhooks that the API server calls, with `--source kubernetes`.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHCONTROL_WEBHOOK_ADDR",
        default_value = "0.0.0.0:15017"
    )]
    pub webhook_addr: SocketAddr,
    /// Prometheus metrics: GET /metrics.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHCONTROL_METRICS_ADDR",
        default_value = "0.0.0.0:15014"
    )]
    pub metrics_addr: SocketAddr,
    /// Health (GET /healthz and /readyz), and what the control plane knows, for people.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "MESHCONTROL_HTTP_ADDR",
        default_value = "0.0.0.0:8080"
    )]
    pub http_addr: SocketAddr,
}

/// Whom it believes and what it signs.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Whom it believes and what it signs")]
pub struct TrustArgs {
    /// Trust domain of identities.
    #[arg(long, value_name = "DOMAIN", env = "MESHCONTROL_TRUST_DOMAIN", default_value = "cluster.local", value_parser = trust_domain)]
    pub trust_domain: String,
    /// Whom tokens must be for.
    #[arg(long, value_name = "TEXT", env = "MESHCONTROL_AUDIENCE", default_value = "istio-ca", value_parser = audience)]
    pub audience: String,
    /// How long certificates are valid whose owners ask for no lifetime. They are renewed at half of it:
    /// for as long the control plane may be away.
    #[arg(long, value_name = "DURATION", env = "MESHCONTROL_CERTIFICATE_LIFETIME", default_value = "48h", value_parser = lifetime)]
    pub certificate_lifetime: Duration,
    /// The longest that they can ask for; who asks for more gets this.
    #[arg(long, value_name = "DURATION", env = "MESHCONTROL_CERTIFICATE_LIFETIME_MAX", default_value = "72h", value_parser = lifetime)]
    pub certificate_lifetime_max: Duration,
    /// Further names by which proxies reach the control plane, of DNS or addresses.
    #[arg(
        long = "server-name",
        value_name = "NAME,...",
        env = "MESHCONTROL_SERVER_NAME",
        value_delimiter = ',',
        value_parser = server_name
    )]
    pub server_names: Vec<ServerName>,
}

/// Where the mesh is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the API server.
    Kubernetes,
    /// In a folder or file.
    Folder(PathBuf),
}

// === impl ServeArgs ===

impl ServeArgs {
    /// What flags cannot say one by one.
    ///
    /// # Errors
    ///
    /// A usage error: `clap::Error::exit` prints it and exits with the right code.
    pub fn check(&self) -> Result<(), clap::Error> {
        let message = match (&self.source, &self.state_dir) {
            (Source::Folder(_), None) => "--source dir: needs --state-dir, for its keys",
            (Source::Kubernetes, Some(_)) => {
                "--state-dir is for --source dir: only: in Kubernetes keys are in a Secret"
            }
            (Source::Folder(_), Some(_)) | (Source::Kubernetes, None) => {
                let trust = &self.trust;
                if trust.certificate_lifetime <= trust.certificate_lifetime_max {
                    return Ok(());
                }
                "--certificate-lifetime must be at most --certificate-lifetime-max"
            }
        };
        Err(clap::Error::raw(
            ErrorKind::ArgumentConflict,
            format!("{message}\n"),
        ))
    }
}

// === impl Source ===

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("dir:")) {
            ("kubernetes", _) => Ok(Self::Kubernetes),
            (_, Some(path)) if !path.is_empty() => Ok(Self::Folder(PathBuf::from(path))),
            _ => Err("must be `kubernetes`, or `dir:` and a path".to_owned()),
        }
    }
}

fn server_name(text: &str) -> Result<ServerName, String> {
    text.parse()
        .map_err(|error: authority::leaf::ServerNameError| error.to_string())
}
