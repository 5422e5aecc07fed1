//! `kubectl`, as people use it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::binaries;

/// Longest run: it asks for everything that the API server knows first.
const RUN_MAX: Duration = Duration::from_secs(120);

/// `kubectl` with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    folder: PathBuf,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Whether it did what it was told.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

// === impl Kubectl ===

impl Kubectl {
    pub(super) fn new(kubeconfig: &Path, folder: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// Runs it with `arguments` and `input`.
    ///
    /// # Panics
    ///
    /// If it cannot be started or does not end.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(binaries::path("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.args(arguments).env("HOME", &self.folder);
        command.stdin(Stdio::piped()).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl can be started");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        let feed = async move {
            // One that does not read its input has other reasons to fail.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let work = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = timeout(RUN_MAX, work).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {arguments:?} does not end"));
        let output = output.expect("kubectl can be waited for");
        Ran {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it with `arguments` and gives what it printed.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn done(&self, arguments: &[&str], input: &str) -> String {
        let ran = self.run(arguments, input).await;
        assert!(ran.success, "kubectl {arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    /// `kubectl apply` of `yaml`.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub async fn apply(&self, yaml: &str) {
        self.done(&["apply", "-f", "-"], yaml).await;
    }

    /// The same of a file or a folder, and waits for definitions in it to be served.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub async fn apply_definitions(&self, path: &Path) {
        let path = path.to_str().expect("a path of text");
        self.done(&["apply", "--server-side", "-f", path], "").await;
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "-f",
            path,
        ];
        self.done(&wait, "").await;
    }

    /// An object as JSON.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        let text = self.done(&arguments, "").await;
        serde_json::from_str(&text).expect("kubectl writes JSON")
    }
}
