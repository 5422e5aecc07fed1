//! Programs of others as child processes.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::lines::Lines;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A program that runs until this value is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// What it prints.
    pub(crate) stdout: Lines,
    child: Child,
}

// === impl Running ===

impl Running {
    /// Starts `program`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub(crate) fn start<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Self {
        let mut child = command(program, arguments)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Self {
            stdout: Lines::of(child.stdout.take().expect("piped")),
            child,
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The address on loopback that its first line announces, for the programs of `tests/programs`.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub(crate) async fn announced(&self) -> SocketAddr {
        let announces = |line: &str| line.contains("\"listening\"");
        let line = self.stdout.line("a port", announces).await;
        let line: Value = serde_json::from_str(&line).expect("lines are JSON");
        let port = line["port"].as_u64().and_then(|port| port.try_into().ok());
        let port: u16 = port.expect("a port has 16 bits");
        (Ipv4Addr::LOCALHOST, port).into()
    }
}

/// Runs `program` to its end, which must come within `limit`.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub(crate) async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    limit: Duration,
) -> Output {
    let output = command(program, arguments).stderr(Stdio::piped()).output();
    let Ok(output) = timeout(limit, output).await else {
        panic!("{} does not end within {limit:?}", program.display());
    };
    output.unwrap_or_else(|error| panic!("start {}: {error}", program.display()))
}

fn command<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
