//! Servers that end with the process of the test, however that ends.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::binaries;

/// Runs a program until its own standard input ends, which it does at the latest when we do: whoever is
/// killed cannot clean up. Says the number of the process first.
const KEEPER: &str = r#"
    trap '' INT TERM HUP
    log=$1
    shift
    "$@" </dev/null >>"$log" 2>&1 &
    echo $!
    # The shell itself would tell of whom it ended.
    exec >/dev/null 2>&1
    read -r _
    kill -KILL $!
    wait $!
"#;
/// Removes a folder when its standard input ends. Servers that are being ended may still write to it.
const REMOVER: &str = r#"
    trap '' INT TERM HUP
    read -r _
    rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;
/// Lines of a log that are shown.
const LOG_LINES: usize = 30;

/// A folder that is removed when this is dropped, and in any case with the process of the test.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    remover: Child,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    keeper: Child,
    pid: i32,
}

// === impl Folder ===

impl Folder {
    pub(super) fn new() -> Self {
        let path = TempDir::new()
            .expect("a temporary folder can be made")
            .keep();
        let mut remover = Command::new("sh");
        remover.args(["-c", REMOVER, "remover"]).arg(&path);
        let remover = remover.stdin(Stdio::piped()).stdout(Stdio::null());
        let remover = remover.spawn().expect("a shell can be started");
        Self { path, remover }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts one of the programs of Kubernetes. What it writes goes to a file that [`Self::log`] reads.
    pub(super) fn start(&self, program: &str, arguments: &[String]) -> Server {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]);
        keeper.arg(self.log_file(program));
        keeper.arg(binaries::path(program)).args(arguments);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("a shell can be started");
        let mut said = String::new();
        let output = keeper.stdout.take().expect("piped");
        let read = BufReader::new(output).read_line(&mut said);
        read.expect("the shell says the number of the process");
        let pid = said.trim().parse().expect("a number of a process");
        Server { keeper, pid }
    }

    /// The end of what a program wrote.
    pub(super) fn log(&self, program: &str) -> String {
        let text = fs::read(self.log_file(program)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn log_file(&self, program: &str) -> PathBuf {
        self.path.join(format!("{program}.log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        end(&mut self.remover);
    }
}

// === impl Server ===

impl Server {
    /// Whether it has not ended.
    pub(super) fn runs(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        // One that has ended is there until the keeper has been told to look.
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).expect("a process id");
        kill_process(pid, signal).expect("our child takes signals");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// Tells a shell that we want nothing more, and waits until it has done its last.
fn end(shell: &mut Child) {
    if let Some(mut input) = shell.stdin.take() {
        // A shell that is gone takes nothing; it is waited for in any case.
        let _ = input.write_all(b"\n");
    }
    let _ = shell.wait();
}
