//! A `meshproxy` process: its ports, its command line, and when it is ready.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::process::Command;

use crate::child::{Stop, Supervised};
use crate::layout::Layout;
use crate::meshproxy::Meshproxy;
use crate::port::Reservation;
use crate::ready;
use crate::service::neighbour::Http;
use crate::workload::NAMESPACE;

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
    /// Where its configuration and its certificate come from.
    pub(crate) feed: Feed,
}

/// Where configuration and certificate of a proxy come from.
#[derive(Debug)]
pub(crate) enum Feed {
    /// It reads them.
    Files {
        /// Folder of configuration.
        config: PathBuf,
        /// Folder of its certificate.
        certificate: PathBuf,
    },
    /// The control plane tells and signs them.
    Control {
        /// Where the control plane is.
        url: String,
        /// File of the authority that vouches for it.
        root: PathBuf,
        /// File of the token that says whose proxy it is.
        token: PathBuf,
        /// Folder for what it was told last.
        state: PathBuf,
    },
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Sidecar {
    name: String,
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

// === impl Feed ===

impl Feed {
    fn arguments(&self, command: &mut Command) {
        match self {
            Self::Files {
                config,
                certificate,
            } => command
                .arg("--config")
                .arg(config)
                .arg("--identity-dir")
                .arg(certificate),
            Self::Control {
                url,
                root,
                token,
                state,
            } => command
                .arg("--control")
                .arg(url)
                .arg("--control-root")
                .arg(root)
                .arg("--control-token")
                .arg(token)
                .arg("--state-dir")
                .arg(state),
        };
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
        identity.feed.arguments(&mut command);
        let flags = [
            ("--namespace", NAMESPACE.to_owned()),
            ("--name", identity.name.clone()),
            ("--labels", identity.labels.clone()),
            ("--service-account", identity.service_account.clone()),
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
        let name = identity.name.clone();
        let title = format!("the meshproxy of {name}");
        let process = Supervised::start(&title, command, &layout.log(&name))?;
        Ok(Self {
            name,
            process,
            ports,
        })
    }

    /// Waits until the proxy serves.
    ///
    /// # Errors
    ///
    /// When it ends instead, or is not ready in ten seconds.
    pub(crate) async fn ready(&mut self, http: &Http) -> anyhow::Result<()> {
        let health = self.ports.health.addr();
        ready::wait(&mut self.process, health, "/healthz/ready", http).await
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
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

    /// Drains and stops it, and says how it ended, under what it is called in messages.
    pub(crate) async fn stop(self) -> (String, Stop) {
        let title = self.process.name().to_owned();
        (title, self.process.stop().await)
    }
}
