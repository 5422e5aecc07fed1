//! A program of this source tree: where it is and how it is built.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, bail};
use tokio::process::Command;

/// What there is to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// Name of the program.
    pub(crate) name: &'static str,
    /// Package that has it.
    pub(crate) package: &'static str,
    /// How the variables begin that would change what it does behind our back.
    pub(crate) environment: &'static str,
}

/// A program that is there.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    product: Product,
    path: PathBuf,
}

// === impl Program ===

impl Program {
    /// The program beside the running one, built from this source tree first where that is
    /// possible: a proxy of yesterday beside today's Bookinfo would mislead.
    ///
    /// # Errors
    ///
    /// When it is not there and cannot be built.
    pub(crate) async fn locate(product: Product) -> anyhow::Result<Self> {
        let own = env::current_exe().context("find the running program")?;
        let folder = own
            .parent()
            .context("find the folder of the running program")?;
        let path = folder.join(format!("{}{}", product.name, env::consts::EXE_SUFFIX));
        let by_cargo = env::var_os("CARGO");
        if by_cargo.is_some() || !path.exists() {
            build(product, folder, by_cargo.unwrap_or_else(|| "cargo".into())).await?;
        }
        Self::at(product, &path)
    }

    /// The program at `path`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn at(product: Product, path: &Path) -> anyhow::Result<Self> {
        let path = std::fs::canonicalize(path)
            .with_context(|| format!("find {} at {}", product.name, path.display()))?;
        Ok(Self { product, path })
    }

    /// A call of the program, free of settings from the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in env::vars_os() {
            let ours = name.to_string_lossy().starts_with(self.product.environment);
            if ours {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command of the program to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) async fn output(&self, command: &mut Command) -> anyhow::Result<Output> {
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        output
            .await
            .with_context(|| format!("run {}", self.product.name))
    }

    /// The same, where only success is an answer.
    ///
    /// # Errors
    ///
    /// When it fails, with what it said.
    pub(crate) async fn succeed(&self, command: &mut Command) -> anyhow::Result<Output> {
        let output = self.output(command).await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", self.product.name, said.trim());
        }
        Ok(output)
    }
}

/// Builds the program into `folder`, with the profile that the folder stands for. Where nothing
/// changed since the last time this takes a fraction of a second.
async fn build(product: Product, folder: &Path, cargo: OsString) -> anyhow::Result<()> {
    let target = folder.parent().context("find the target folder")?;
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // With cargo's own progress: the first build takes minutes.
        .args(["build", "-p", product.package, "--bin", product.name])
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
        .with_context(|| format!("run cargo to build {}", product.name))?;
    if !status.success() {
        bail!("cargo could not build {} ({status})", product.name);
    }
    Ok(())
}
