//! A `meshproxy` process: its ports, its command line, and when it is ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Request;

use crate::child::{Stop, Supervised};
use crate::layout::Layout;
use crate::meshproxy::Meshproxy;
use crate::port::Reservation;
use crate::service::neighbour::Http;
use crate::workload::NAMESPACE;

/// How long a proxy may take from its start until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two questions whether it is ready.
const READY_PAUSE: Duration = Duration::from_millis(10);
/// How long one such question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Ports that every proxy has beside its listeners.
#[derive(Debug)]
pub(crate) struct OwnPorts {
    admin: Reservation,
    metrics: Reservation,
    health: Reservation,
}

/// Who a proxy is.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Name, also of its log.
    pub(crate) name: String,
    /// `--labels`.
    pub(crate) labels: String,
    /// `--service-account`.
    pub(crate) service_account: String,
    /// Folder of its certificate.
    pub(crate) certificate: PathBuf,
    /// Files and folders it reads.
    pub(crate) config: Vec<PathBuf>,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Sidecar {
    process: Supervised,
    ports: OwnPorts,
}

// === impl OwnPorts ===

impl OwnPorts {
    /// Reserves three free ports.
    ///
    /// # Errors
    ///
    /// When none is left.
    pub(crate) fn reserve() -> std::io::Result<Self> {
        Ok(Self {
            admin: Reservation::any()?,
            metrics: Reservation::any()?,
            health: Reservation::any()?,
        })
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts a proxy; it may not be ready yet.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub(crate) fn start(
        meshproxy: &Meshproxy,
        identity: &Identity,
        ports: OwnPorts,
        layout: &Layout,
    ) -> anyhow::Result<Self> {
        let mut command = meshproxy.command();
        for path in &identity.config {
            command.arg("--config").arg(path);
        }
        let flags = [
            ("--namespace", NAMESPACE.to_owned()),
            ("--name", identity.name.clone()),
            ("--labels", identity.labels.clone()),
            ("--service-account", identity.service_account.clone()),
            ("--identity-dir", identity.certificate.display().to_string()),
            ("--bind", "127.0.0.1".to_owned()),
            ("--admin-addr", ports.admin.addr().to_string()),
            ("--metrics-addr", ports.metrics.addr().to_string()),
            ("--health-addr", ports.health.addr().to_string()),
            ("--workers", "1".to_owned()),
            // Nobody has to hear of it before a demonstration ends.
            ("--minimum-drain", "0".to_owned()),
            ("--drain-timeout", "3s".to_owned()),
            // The log of a proxy says who asked for what, and which policy refused it.
            ("--access-log", "text".to_owned()),
        ];
        for (flag, value) in flags {
            command.arg(flag).arg(value);
        }
        let process = Supervised::start(&identity.name, command, &layout.log(&identity.name))?;
        Ok(Self { process, ports })
    }

    /// Waits until the proxy serves.
    ///
    /// # Errors
    ///
    /// When it ends instead, or is not ready in ten seconds.
    pub(crate) async fn ready(&mut self, http: &Http) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let health = self.ports.health.addr();
        loop {
            self.process.still_runs()?;
            let req = Request::get("/healthz/ready").header("host", health.to_string());
            let req = req
                .body(http_body_util::Full::default())
                .context("make a request")?;
            match http.send(health, req, ASK_TIMEOUT).await {
                Ok(rsp) if rsp.status().is_success() => return Ok(()),
                Ok(_) | Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(READY_PAUSE).await;
                }
                Ok(rsp) => bail!("{} is not ready: it says {}", self.name(), rsp.status()),
                Err(error) => {
                    return Err(error.context(format!("wait until {} is ready", self.name())));
                }
            }
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.process.name()
    }

    /// Address of its admin interface.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.ports.admin.addr()
    }

    /// Address of its metrics.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.ports.metrics.addr()
    }

    /// Waits until the process ends by itself, and says how.
    pub(crate) async fn end(&mut self) -> anyhow::Error {
        self.process.end().await
    }

    /// Drains and stops it.
    pub(crate) async fn stop(self) -> Stop {
        self.process.stop().await
    }
}
