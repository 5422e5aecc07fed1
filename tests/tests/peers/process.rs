//! Programs of others as child processes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use tests::lines::Lines;
use tests::soon;
use tokio::process::{Child, Command};

/// A program that runs until this value is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// What it prints.
    pub(crate) stdout: Lines,
    _child: Child,
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
            _child: child,
        }
    }
}

/// Runs `program` to its end.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Output {
    let what = format!("the end of {}", program.display());
    let output = soon(
        &what,
        command(program, arguments).stderr(Stdio::piped()).output(),
    )
    .await;
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
