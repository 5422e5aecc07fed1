//! The `meshproxy` program: where it is, how it is built, what its `check` says.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::workload::NAMESPACE;

/// Variables that would change what every proxy does behind our back.
const ENVIRONMENT_PREFIX: &str = "MESHPROXY_";

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Meshproxy {
    path: PathBuf,
}

/// What `meshproxy check` said.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Exit code; 0 means that the files are fine.
    pub(crate) code: Option<i32>,
    /// Errors and warnings, for people.
    pub(crate) text: String,
}

impl Meshproxy {
    /// The program beside the running one, built from this source tree first where that is
    /// possible: a proxy of yesterday beside today's Bookinfo would mislead.
    ///
    /// # Errors
    ///
    /// When it is not there and cannot be built.
    pub(crate) async fn locate() -> anyhow::Result<Self> {
        let own = env::current_exe().context("find the running program")?;
        let folder = own
            .parent()
            .context("find the folder of the running program")?;
        let path = folder.join(format!("meshproxy{}", env::consts::EXE_SUFFIX));
        let by_cargo = env::var_os("CARGO");
        if by_cargo.is_some() || !path.exists() {
            build(folder, by_cargo.unwrap_or_else(|| "cargo".into())).await?;
        }
        Self::at(&path)
    }

    /// The program at `path`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        let path = std::fs::canonicalize(path)
            .with_context(|| format!("find meshproxy at {}", path.display()))?;
        Ok(Self { path })
    }

    /// A call of the program, free of settings from the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Lets the program make certificates in `folder` for these service accounts.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub(crate) async fn certify(
        &self,
        folder: &Path,
        service_accounts: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let mut command = self.command();
        command.arg("dev-certs").arg("--out").arg(folder);
        for account in service_accounts {
            command
                .arg("--identity")
                .arg(format!("{NAMESPACE}/{account}"));
        }
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run meshproxy dev-certs")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("meshproxy dev-certs: {}", said.trim());
        }
        Ok(())
    }

    /// Lets the program check `paths`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) async fn check(&self, paths: &[&Path]) -> anyhow::Result<Verdict> {
        let output = self
            .command()
            .arg("check")
            .args(paths)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run meshproxy check")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        Ok(Verdict {
            code: output.status.code(),
            text,
        })
    }
}

/// Builds the program into `folder`, with the profile that the folder stands for. Where nothing
/// changed since the last time this takes a fraction of a second.
async fn build(folder: &Path, cargo: OsString) -> anyhow::Result<()> {
    let target = folder.parent().context("find the target folder")?;
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // With cargo's own progress: the first build takes minutes.
        .args(["build", "-p", "proxy", "--bin", "meshproxy"])
        .arg("--target-dir")
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    let status = command
        .status()
        .await
        .context("run cargo to build meshproxy")?;
    if !status.success() {
        bail!("cargo could not build meshproxy ({status})");
    }
    Ok(())
}
