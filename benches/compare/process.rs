//! Child processes: pinned to a core, and killed with their whole tree when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tokio::time::Instant;

/// How long a program may take from its start until it serves.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// Pause between two looks at a program that is not ready yet.
const READY_POLL: Duration = Duration::from_millis(5);

/// A running program. Dropping it kills it and everything it started, each by its process id.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts `program` on `core`; what it prints goes to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be created or `taskset` cannot be run.
    pub(crate) fn start(
        core: usize,
        program: &Path,
        args: &[String],
        log: PathBuf,
    ) -> Result<Self> {
        set_child_subreaper(Some(getpid())).context("become the parent of orphans")?;
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = pinned(core, program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Process { child, log })
    }

    /// Process ids of the program and of everything it started, parents first.
    pub(crate) fn tree(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(&pid) = pids.get(next) {
            pids.extend(children(pid));
            next += 1;
        }
        pids
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the program ends first or takes longer than [`READY_DEADLINE`]; both carry its log.
    pub(crate) async fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        while !ready() {
            let ended = self.child.try_wait().context("look at the program")?;
            if let Some(status) = ended {
                bail!(
                    "the program ended before it was ready ({status}):\n{}",
                    self.log_text()
                );
            }
            if Instant::now() > deadline {
                bail!("not ready after {READY_DEADLINE:?}:\n{}", self.log_text());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing in the tree is reaped before it is waited for here, so no id can belong to
        // anybody else. Parents go first so that none of them starts a worker anew; when they are
        // gone, their children are ours to wait for.
        let raw = self
            .tree()
            .into_iter()
            .filter_map(|pid| i32::try_from(pid).ok());
        let tree: Vec<Pid> = raw.filter_map(Pid::from_raw).collect();
        for &pid in &tree {
            // Fails only for a process that is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        for &pid in tree.iter().skip(1) {
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

// === free functions ===

/// A command that runs `program` on `core` only, under the process id it is started with.
pub(crate) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

/// Ports on loopback that were free just now and differ from each other.
///
/// # Errors
/// When the system has no free port.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr().context("find a free port")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Whether something accepts connections on `port` of loopback.
pub(crate) fn accepts(port: u16) -> bool {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&addr, Duration::from_millis(200)).is_ok()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .flat_map(str::parse)
                .collect::<Vec<u32>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &tempfile::TempDir) -> Process {
        let args = ["-c".to_owned(), script.to_owned()];
        let log = folder.path().join("log");
        Process::start(0, Path::new("/bin/sh"), &args, log).unwrap()
    }

    #[tokio::test]
    async fn dropping_a_process_kills_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 600 & sleep 600; true", &folder);
        let root = process.child.id();
        process
            .wait_until(|| children(root).len() == 2)
            .await
            .unwrap();
        let tree = process.tree();
        assert_eq!(tree.len(), 3);

        drop(process);

        for pid in tree {
            assert!(
                !Path::new(&format!("/proc/{pid}")).exists(),
                "process {pid} is left"
            );
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_reported_with_what_it_printed() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo no such option >&2; exit 3", &folder);

        let error = process.wait_until(|| false).await.unwrap_err().to_string();

        assert!(
            error.contains("exit status: 3") && error.contains("no such option"),
            "{error}"
        );
    }

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
    }
}
