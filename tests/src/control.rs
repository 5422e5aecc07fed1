//! A running `meshcontrol`, fed by a folder or by Kubernetes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary::meshcontrol;
use crate::client::Http1;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::wait::{eventually, soon};

/// A control plane that is ready; killed when dropped.
#[derive(Debug)]
pub struct Control {
    child: Child,
    /// Holds configuration and keys if they are the control plane's own.
    folder: Option<TempDir>,
    state: PathBuf,
    /// Configuration and certificates, over TLS.
    pub addr: SocketAddr,
    /// Configuration without TLS, if it was asked for.
    pub plain: Option<SocketAddr>,
    /// Webhooks, if there is a cluster.
    pub webhooks: Option<SocketAddr>,
    metrics: SocketAddr,
    http: SocketAddr,
    /// Its log.
    pub stderr: Lines,
}

// === impl Control ===

impl Control {
    /// Starts one that has these files, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start(files: &[(&str, &str)], arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let (mesh, state) = (folder.path().join("mesh"), folder.path().join("state"));
        fs::create_dir(&mesh).expect("a temporary folder can be made");
        for (name, text) in files {
            fs::write(mesh.join(name), text).expect("a temporary file can be written");
        }
        let mut control = Self::start_from(&mesh, &state, arguments).await;
        control.folder = Some(folder);
        control
    }

    /// Starts one with the configuration at `mesh` and keys at `state`, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start_from(mesh: &Path, state: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(meshcontrol());
        command
            .arg("serve")
            .args(["--source", &format!("dir:{}", mesh.display())])
            .arg("--state-dir")
            .arg(state);
        Self::start_by(command, state, arguments).await
    }

    /// Starts one in a namespace of a cluster, whose API server it reaches by `kubeconfig`, and waits until
    /// it is ready. Its authority is the Secret of that namespace.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn in_cluster(kubeconfig: &Path, namespace: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(meshcontrol());
        command
            .env("KUBECONFIG", kubeconfig)
            .args(["serve", "--source", "kubernetes"])
            .args(["--namespace", namespace]);
        if !arguments.contains(&"--webhook-addr") {
            command.args(["--webhook-addr", "127.0.0.1:0"]);
        }
        Self::start_by(command, Path::new(""), arguments).await
    }

    async fn start_by(command: Command, state: &Path, arguments: &[&str]) -> Self {
        let mut child = spawn(command, arguments);
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let is_ready = |line: &str| line.contains("ready") && line.contains("http=");
        let ready = stderr.line("a control plane that is ready", is_ready).await;
        let address = |name| address(&ready, name);
        let expected = "an address behind each name";
        let control = Self {
            child,
            folder: None,
            state: state.to_owned(),
            addr: address("addr").expect(expected),
            plain: address("plain"),
            webhooks: address("webhooks"),
            metrics: address("metrics").expect(expected),
            http: address("http").expect(expected),
            stderr,
        };
        eventually("readiness", || control.ready(), |status| *status == 200).await;
        control
    }

    /// Its folder of configuration.
    ///
    /// # Panics
    ///
    /// If it was started from another one.
    pub fn mesh(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("a folder of its own");
        folder.path().join("mesh")
    }

    /// Its folder of keys, if it is fed by a folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What its workloads are to believe.
    ///
    /// # Panics
    ///
    /// If that is not there.
    pub fn roots(&self) -> String {
        let path = self.state.join("root-cert.pem");
        fs::read_to_string(path).expect("roots")
    }

    /// A token of a service account, valid for an hour unless `arguments` say otherwise.
    ///
    /// # Panics
    ///
    /// If it is not made.
    pub async fn token(&self, namespace: &str, account: &str, arguments: &[&str]) -> String {
        let state = self.state.to_str().expect("a path of text");
        let fixed = ["token", "--state-dir", state];
        let named = ["--namespace", namespace, "--service-account", account];
        let output = run(&[&fixed[..], &named, arguments].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).expect("text");
        token.trim().to_owned()
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// If it was seen to end.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the control plane runs")
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
        soon("the end of the control plane", self.child.wait())
            .await
            .expect("our child can be waited for")
    }

    /// Where health is asked for, and what the control plane knows.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// The status of its readiness.
    pub async fn ready(&self) -> u16 {
        let mut health = Http1::connect(self.http).await;
        health.get("control", "/readyz").await.status.as_u16()
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        let mut metrics = Http1::connect(self.metrics).await;
        let reply = metrics.get("control", "/metrics").await;
        Metrics::parse(reply.text())
    }
}

/// Runs `meshcontrol` with `arguments` to its end.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(meshcontrol());
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    soon("the end of meshcontrol", command.output())
        .await
        .expect("meshcontrol can be started")
}

fn spawn(mut command: Command, arguments: &[&str]) -> Child {
    for server in ["--addr", "--metrics-addr", "--http-addr"] {
        command.args([server, "127.0.0.1:0"]);
    }
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("meshcontrol can be started")
}

/// The address behind `name=` in a line of the log, if it is there.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let field = format!("{name}=");
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(field.as_str()))?;
    let address = value.parse();
    Some(address.unwrap_or_else(|_| panic!("no address of {name} in: {line}")))
}
