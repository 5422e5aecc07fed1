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
    child: Child,
    /// What it prints.
    pub(crate) stdout: Lines,
    /// What it complains of.
    pub(crate) stderr: Lines,
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
            stderr: Lines::of(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// Whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Runs `program` to its end.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Output {
    let what = format!("the end of {}", program.display());
    let output = soon(&what, command(program, arguments).output()).await;
    output.unwrap_or_else(|error| panic!("start {}: {error}", program.display()))
}

fn command<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}
