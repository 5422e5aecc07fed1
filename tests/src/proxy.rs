//! A running `meshproxy`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary::meshproxy;
use crate::client::Http1;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::wait::{eventually, soon};

/// Labels of a proxy for which a test names none: those that the gateways of [`crate::yaml`] select.
const GATEWAY_LABELS: &str = "istio=ingressgateway";

/// A proxy that is ready; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// The process that has taken its place.
    heir: Option<Pid>,
    /// Holds the configuration if it is the proxy's own.
    _folder: Option<TempDir>,
    config: PathBuf,
    admin: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    /// Its log.
    pub stderr: Lines,
    /// Its access log.
    pub stdout: Lines,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy with `yaml` as its only file and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start(yaml: &str) -> Self {
        Self::start_with(yaml, &[]).await
    }

    /// The same with more arguments.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_with(yaml: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("mesh.yaml");
        fs::write(&config, yaml).expect("a temporary file can be written");
        let mut proxy = Self::start_from(&config, arguments).await;
        proxy._folder = Some(folder);
        proxy
    }

    /// The same under a soft limit of open files, as a shell or a service manager sets it.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_with_open_files(yaml: &str, limit: usize) -> Self {
        Self::start_limited(yaml, &format!("ulimit -S -n {limit}"), &[]).await
    }

    /// The same once a shell has run `limits`, and with more arguments.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_limited(yaml: &str, limits: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("mesh.yaml");
        fs::write(&config, yaml).expect("a temporary file can be written");
        let mut shell = Command::new("sh");
        shell.arg("-c");
        shell.arg(format!("{limits} && exec \"$0\" \"$@\""));
        shell.arg(meshproxy());
        let mut proxy = Self::start_by(shell, &config, arguments).await;
        proxy._folder = Some(folder);
        proxy
    }

    /// Starts a proxy with the configuration at `config` and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_from(config: &Path, arguments: &[&str]) -> Self {
        Self::start_by(Command::new(meshproxy()), config, arguments).await
    }

    /// Starts a proxy that follows control planes, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn follow(urls: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(meshproxy());
        command.args(["--control", urls]);
        Self::start_as(command, None, arguments).await
    }

    async fn start_by(mut command: Command, config: &Path, arguments: &[&str]) -> Self {
        command.arg("--config").arg(config);
        Self::start_as(command, Some(config), arguments).await
    }

    async fn start_as(command: Command, config: Option<&Path>, arguments: &[&str]) -> Self {
        let mut child = spawn(command, arguments);
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let is_ready = |line: &str| line.contains("ready") && line.contains("health=");
        let ready = stderr.line("a proxy that is ready", is_ready).await;
        let proxy = Self {
            child,
            heir: None,
            _folder: None,
            config: config.unwrap_or(Path::new("")).to_owned(),
            admin: address(&ready, "admin"),
            metrics: address(&ready, "metrics"),
            health: address(&ready, "health"),
            stderr,
            stdout,
        };
        eventually("readiness", || proxy.ready(), |status| *status == 200).await;
        proxy
    }

    /// Its configuration file or folder; nothing if it follows a control plane.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id, or that of the process that has taken its place.
    ///
    /// # Panics
    ///
    /// If it was seen to end.
    pub fn pid(&self) -> u32 {
        match self.heir {
            Some(heir) => heir.as_raw_nonzero().get().unsigned_abs(),
            None => self.child.id().expect("the proxy runs"),
        }
    }

    /// Has it start its program anew, and waits until that has taken its place.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn upgrade(&mut self) {
        let is_replaced = |line: &str| line.contains("replaced; finishing");
        let before = self
            .stderr
            .all()
            .iter()
            .filter(|it| is_replaced(it))
            .count();
        self.signal(Signal::USR2);
        self.replaced(before).await;
    }

    /// Waits until another process has taken its place after so many others did. Whoever does not leaves a
    /// process behind that nobody ends.
    ///
    /// # Panics
    ///
    /// If none does.
    pub async fn replaced(&mut self, before: usize) {
        let is_replaced = |line: &str| line.contains("replaced; finishing");
        let line = self
            .stderr
            .nth(before, "another process", is_replaced)
            .await;
        let field = line
            .split_whitespace()
            .find_map(|it| it.strip_prefix("pid="));
        let pid = field
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw);
        self.heir = Some(pid.expect("the number of the process that replaced it"));
    }

    /// Puts `yaml` in the place of its file and waits until it is in use.
    ///
    /// # Panics
    ///
    /// If it does not come into use.
    pub async fn apply(&self, yaml: &str) {
        let before = self.loaded_at().await;
        self.replace(yaml);
        let is_new = |now: &Value| now["loadedAt"] != before && now["valid"] == true;
        eventually(
            "a new configuration in use",
            || self.admin("/config"),
            is_new,
        )
        .await;
    }

    /// Puts `yaml`, which is wrong, in the place of its file and waits until it is refused.
    ///
    /// # Panics
    ///
    /// If it is not refused.
    pub async fn refuse(&self, yaml: &str) {
        let before = self.failed_reloads().await;
        self.replace(yaml);
        let failed = async || self.failed_reloads().await;
        eventually("a refusal", failed, |failed| *failed > before).await;
    }

    /// Puts `yaml` in the place of its file in one step.
    ///
    /// # Panics
    ///
    /// If the file system refuses.
    pub fn replace(&self, yaml: &str) {
        let new = self.config.with_extension("new");
        fs::write(&new, yaml).expect("a temporary file can be written");
        fs::rename(&new, &self.config).expect("a temporary file can be renamed");
    }

    /// When the configuration in use was loaded.
    pub async fn loaded_at(&self) -> Value {
        self.admin("/config").await["loadedAt"].clone()
    }

    /// Reloads that were refused.
    pub async fn failed_reloads(&self) -> f64 {
        let metrics = self.metrics().await;
        metrics.sum("meshproxy_config_reloads_total", &[("result", "failure")])
    }

    /// A page of the admin server.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    pub async fn admin(&self, path: &str) -> Value {
        let reply = Http1::connect(self.admin).await.get("admin", path).await;
        assert_eq!(reply.status, 200, "{path}");
        serde_json::from_slice(&reply.body).expect("admin pages are JSON")
    }

    /// Where the admin server listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Where the health server listens.
    pub fn health_addr(&self) -> SocketAddr {
        self.health
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        let reply = Http1::connect(self.metrics)
            .await
            .get("metrics", "/metrics")
            .await;
        Metrics::parse(reply.text())
    }

    /// The status of its readiness.
    pub async fn ready(&self) -> u16 {
        let mut health = Http1::connect(self.health).await;
        health.get("health", "/healthz/ready").await.status.as_u16()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most resident memory that it ever had, in bytes.
    pub fn resident_peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok())
            .expect("a size in kB")
            * 1_024
    }

    /// Waits until what is counted in the series with some labels is `value`: a request is counted when its
    /// answer is out, which may be after the answer was received.
    ///
    /// # Panics
    ///
    /// If it is not within [`crate::wait::PATIENCE`].
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let counted = || async { self.metrics().await.sum(name, labels) };
        eventually(name, counted, |it| *it == value).await;
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// If it does not run any more.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("our child takes signals");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the end of the proxy", self.child.wait())
            .await
            .expect("our child can be waited for")
    }
}

impl Drop for Proxy {
    /// Ends the process that has taken its place; its own ends with the child.
    fn drop(&mut self) {
        if let Some(heir) = self.heir {
            let _ = kill_process(heir, Signal::KILL);
        }
    }
}

fn spawn(mut command: Command, arguments: &[&str]) -> Child {
    command.args(["--bind", "127.0.0.1"]);
    for server in ["--admin-addr", "--metrics-addr", "--health-addr"] {
        command.args([server, "127.0.0.1:0"]);
    }
    // Callers learn at once that it goes: there is nothing for which tests would have to wait.
    if !arguments.contains(&"--minimum-drain") {
        command.args(["--minimum-drain", "0"]);
    }
    if !arguments.contains(&"--labels") {
        command.args(["--labels", GATEWAY_LABELS]);
    }
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("meshproxy can be started")
}

/// The address behind `name=` in a line of the log.
fn address(line: &str, name: &str) -> SocketAddr {
    let field = format!("{name}=");
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(field.as_str()));
    let address = value.and_then(|value| value.parse().ok());
    address.unwrap_or_else(|| panic!("no address of {name} in: {line}"))
}
