//! A proxy beside the programs of a host, with everything captured.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::authority::IdentityDir;
use crate::binary::meshproxy;
use crate::chart::{items, texts};
use crate::metrics::Metrics;
use crate::netns::host::{Host, Running};
use crate::wait::eventually;

/// The user that the proxy runs as.
pub const PROXY_USER: u32 = 1_337;

/// A proxy that is ready; ends when dropped.
#[derive(Debug)]
pub struct Sidecar {
    host: Host,
    /// It and its output.
    pub running: Running,
    config: PathBuf,
    _folder: TempDir,
}

// === impl Sidecar ===

impl Sidecar {
    /// Starts a proxy with `yaml` on `host`, as the sidecar of `app=HOST`, waits until it is ready, and
    /// captures all traffic.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn capturing(host: &Host, yaml: &str, identity: Option<&IdentityDir>) -> Self {
        let sidecar = Self::start(host, yaml, identity).await;
        host.says(meshproxy_name(), &["iptables"]).await;
        sidecar
    }

    /// The same without capturing anything yet.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub async fn start(host: &Host, yaml: &str, identity: Option<&IdentityDir>) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("mesh.yaml");
        std::fs::write(&config, yaml).expect("a temporary file can be written");
        readable(folder.path());
        let mut command = host.command(PROXY_USER, meshproxy());
        command
            .arg("--capture")
            .args(["--config".as_ref(), config.as_os_str()])
            .args(["--labels", &format!("app={}", host.name())])
            .args(["--service-account", host.name()])
            .args(["--access-log", "json"])
            // Every address of both families, as far as the host has them.
            .args([
                "--metrics-addr",
                "[::]:15090",
                "--health-addr",
                "[::]:15021",
            ])
            .env("NO_COLOR", "1");
        if let Some(identity) = identity {
            readable(identity.path());
            command.arg("--identity-dir").arg(identity.path());
        }
        let sidecar = Self {
            host: host.clone(),
            running: host.start(command),
            config,
            _folder: folder,
        };
        let is_ready = |line: &str| line.contains("ready") && line.contains("health=");
        sidecar.running.stderr.line("a ready proxy", is_ready).await;
        sidecar
    }

    /// Starts the proxy that was injected into `pod`, as its container says, waits until it is ready, and
    /// captures traffic as its init container says. `volumes` has a folder for each volume of the proxy.
    ///
    /// # Panics
    ///
    /// If the pod has no proxy, or it does not become ready.
    pub async fn injected(host: &Host, pod: &Value, volumes: TempDir) -> Self {
        let container = Container::of(pod, "istio-proxy");
        let mut command = host.command(PROXY_USER, meshproxy());
        command
            .args(container.arguments())
            .envs(container.variables(pod, volumes.path()))
            .env("NO_COLOR", "1");
        let sidecar = Self {
            host: host.clone(),
            running: host.start(command),
            config: PathBuf::new(),
            _folder: volumes,
        };
        let ready = async || sidecar.is_ready().await;
        eventually("a proxy that is ready", ready, |status| status == "200").await;
        let rules = Container::of(pod, "meshproxy-init");
        let mut command = host.command(0, meshproxy());
        command
            .args(rules.arguments())
            .envs(rules.variables(pod, Path::new("")));
        host.said("meshproxy iptables", &host.ended(command).await);
        sidecar
    }

    /// Status of its readiness, or what it said if there is none.
    async fn is_ready(&self) -> String {
        let url = "http://127.0.0.1:15021/healthz/ready";
        let arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", url];
        let output = self.host.run("curl", &arguments).await;
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        match status.as_str() {
            "000" => format!("nobody answers: {}", self.log()),
            _ => status,
        }
    }

    /// Puts `yaml` in the place of its configuration and waits until it is in use.
    ///
    /// # Panics
    ///
    /// If it does not come into use.
    pub async fn apply(&self, yaml: &str) {
        let before = self.admin("/config").await["loadedAt"].clone();
        let new = self.config.with_extension("new");
        std::fs::write(&new, yaml).expect("a temporary file can be written");
        std::fs::rename(&new, &self.config).expect("a temporary file can be renamed");
        let is_new = |now: &Value| now["loadedAt"] != before && now["valid"] == true;
        eventually("a new configuration", || self.admin("/config"), is_new).await;
    }

    /// A page of its admin server.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    pub async fn admin(&self, path: &str) -> Value {
        let page = self.page(&format!("http://127.0.0.1:15000{path}")).await;
        serde_json::from_str(&page).unwrap_or_else(|_| panic!("{path}: {page}"))
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.page("http://127.0.0.1:15090/metrics").await)
    }

    /// What it said of itself and of traffic, to explain a failure.
    pub fn log(&self) -> String {
        let lines = [self.running.stderr.all(), self.running.stdout.all()];
        lines.concat().join("\n")
    }

    async fn page(&self, url: &str) -> String {
        self.host
            .says("curl", &["-sS", "--max-time", "10", url])
            .await
    }
}

/// A container of a pod.
struct Container<'p>(&'p Value);

// === impl Container ===

impl<'p> Container<'p> {
    /// The one of this name, wherever it stands.
    fn of(pod: &'p Value, name: &str) -> Self {
        let lists = ["initContainers", "containers"];
        let all = lists.iter().flat_map(|list| items(&pod["spec"][list]));
        let named = all.into_iter().find(|it| it["name"] == name);
        Self(named.unwrap_or_else(|| panic!("no container {name} in {pod}")))
    }

    fn arguments(&self) -> Vec<&'p str> {
        texts(&self.0["args"])
    }

    /// Its variables; what is below a mount is in the folder of its volume, below `volumes`.
    fn variables(&self, pod: &Value, volumes: &Path) -> Vec<(&'p str, String)> {
        let all = items(&self.0["env"]).map(|variable| {
            let name = variable["name"].as_str().expect("variables have names");
            let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
            let value = match field {
                Some(field) => pod.pointer(&format!("/{}", field.replace('.', "/"))),
                None => Some(&variable["value"]),
            };
            let value = value.and_then(Value::as_str);
            (name, self.mounted(value.unwrap_or_default(), volumes))
        });
        all.collect()
    }

    fn mounted(&self, value: &str, volumes: &Path) -> String {
        let below = items(&self.0["volumeMounts"]).find_map(|mount| {
            let rest = value.strip_prefix(mount["mountPath"].as_str()?)?;
            let volume = volumes.join(mount["name"].as_str()?);
            Some(format!("{}{rest}", volume.display()))
        });
        below.unwrap_or_else(|| value.to_owned())
    }
}

/// The program as an argument of `ip netns exec`.
pub fn meshproxy_name() -> &'static str {
    meshproxy().to_str().expect("a path of plain text")
}

/// Lets the proxy's user read a temporary folder, which only root may.
fn readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let files = std::fs::read_dir(folder).expect("our folder");
    for file in files.flatten() {
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file.path(), mode).expect("our file");
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, mode).expect("our folder");
}
