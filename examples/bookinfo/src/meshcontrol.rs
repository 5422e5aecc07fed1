//! The `meshcontrol` program in the middle: reads the folder, tells every proxy what it needs, and
//! signs its certificate.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, ensure};
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use serde::Deserialize;

use crate::child::{Stop, Supervised};
use crate::layout::Layout;
use crate::port::Reservation;
use crate::program::{Product, Program};
use crate::ready::{self, ASK_TIMEOUT};
use crate::service::neighbour::Http;
use crate::workload::NAMESPACE;

/// The control plane.
pub(crate) const MESHCONTROL: Product = Product {
    name: "meshcontrol",
    package: "control",
    environment: "MESHCONTROL_",
};
/// How long tokens are good for: nobody runs Bookinfo for longer without a new start.
const TOKEN_LIFETIME: &str = "24h";
/// Only we and the proxies, which are the same user, read tokens.
const TOKEN_MODE: u32 = 0o600;

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Meshcontrol(pub(crate) Program);

/// It runs.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    process: Supervised,
    ports: Ports,
}

/// Addresses it has.
#[derive(Debug)]
struct Ports {
    control: Reservation,
    webhook: Reservation,
    metrics: Reservation,
    http: Reservation,
}

/// The part of what it says of its resources that is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    accepted: bool,
}

// === impl Meshcontrol ===

impl Meshcontrol {
    /// Starts the program over the folder of `layout`, and makes a token for each service account.
    /// Returns when it serves.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) async fn start(
        &self,
        service_accounts: &BTreeSet<String>,
        layout: &Layout,
        http: &Http,
    ) -> anyhow::Result<ControlPlane> {
        for account in service_accounts {
            self.token(account, layout).await?;
        }
        let ports = Ports::reserve().context("reserve ports for the control plane")?;
        let mut command = self.0.command();
        let flags = [
            ("--source", format!("dir:{}", layout.config().display())),
            ("--state-dir", layout.keys().display().to_string()),
            ("--addr", ports.control.addr().to_string()),
            ("--webhook-addr", ports.webhook.addr().to_string()),
            ("--metrics-addr", ports.metrics.addr().to_string()),
            ("--http-addr", ports.http.addr().to_string()),
        ];
        command.arg("serve");
        for (flag, value) in flags {
            command.arg(flag).arg(value);
        }
        let process = Supervised::start("meshcontrol", command, &layout.log("meshcontrol"))?;
        let mut started = ControlPlane { process, ports };
        let health = started.http();
        ready::wait(&mut started.process, health, "/readyz", http).await?;
        Ok(started)
    }

    /// Writes a token by which a proxy proves whose it is.
    async fn token(&self, account: &str, layout: &Layout) -> anyhow::Result<()> {
        let mut command = self.0.command();
        command
            .arg("token")
            .arg("--state-dir")
            .arg(layout.keys())
            .args(["--namespace", NAMESPACE])
            .args(["--service-account", account])
            .args(["--lifetime", TOKEN_LIFETIME]);
        let output = self.0.succeed(&mut command).await?;
        let path = layout.token(account);
        keep(&path, &output.stdout).with_context(|| format!("write {}", path.display()))
    }
}

/// Writes what nobody else may read.
fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(TOKEN_MODE).open(path)?;
    // The file of an earlier run keeps its mode otherwise.
    file.set_permissions(fs::Permissions::from_mode(TOKEN_MODE))?;
    std::io::Write::write_all(&mut file, content)
}

// === impl Ports ===

impl Ports {
    fn reserve() -> std::io::Result<Self> {
        Ok(Self {
            control: Reservation::any()?,
            webhook: Reservation::any()?,
            metrics: Reservation::any()?,
            http: Reservation::any()?,
        })
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Where proxies reach it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.ports.control.addr())
    }

    /// Where people look at it.
    pub(crate) fn http(&self) -> SocketAddr {
        self.ports.http.addr()
    }

    /// Whether it refuses anything of what is written.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub(crate) async fn refuses(&self, http: &Http) -> anyhow::Result<bool> {
        let addr = self.http();
        let req = Request::get("/api/resources").header(HOST, addr.to_string());
        let rsp = http.send(addr, req.body(Full::default())?, ASK_TIMEOUT);
        let rsp = rsp.await.context("ask the control plane")?;
        ensure!(
            rsp.status().is_success(),
            "the control plane says {}",
            rsp.status()
        );
        let said: Resources =
            serde_json::from_slice(rsp.body()).context("read what the control plane says")?;
        Ok(said.resources.iter().any(|it| !it.accepted))
    }

    /// Waits until the process ends by itself, and says how.
    pub(crate) async fn end(&mut self) -> anyhow::Error {
        self.process.end().await
    }

    /// Stops it, and says how it ended, under its name.
    pub(crate) async fn stop(self) -> (String, Stop) {
        let name = self.process.name().to_owned();
        (name, self.process.stop().await)
    }
}
