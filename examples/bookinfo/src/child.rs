//! One child process: started apart from the terminal, stopped with a deadline, never left over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

/// How long a child may take to drain before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Most lines of a log that an error quotes.
const LOG_LINES_MAX: usize = 12;

/// A running child whose output goes to a file.
#[derive(Debug)]
pub(crate) struct Supervised {
    name: String,
    log: PathBuf,
    child: Child,
}

/// How a child ended when it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// By itself, with success.
    Clean,
    /// By itself, with this exit code, or by a signal.
    Failed(Option<i32>),
    /// It did not end in time and was killed.
    Killed,
}

impl Supervised {
    /// Starts `command`, which messages call `name`, with its output in `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be made or the program cannot be started.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let errors = output.try_clone().context("share the log")?;
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            // Ctrl-C reaches every process of the terminal's group. The child is to be stopped
            // by us alone, in order, and would take a second signal for "stop at once".
            .process_group(0);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An error that quotes the end of the log, when the child is no longer there.
    ///
    /// # Errors
    ///
    /// When the child has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(error).context("look after a child process"),
        }
    }

    /// Waits until the child ends by itself, and says how.
    pub(crate) async fn end(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => self.ended(status),
            Err(error) => anyhow::Error::new(error).context("wait for a child process"),
        }
    }

    /// Asks the child to stop, and kills it if it does not.
    pub(crate) async fn stop(mut self) -> Stop {
        terminate(&self.child);
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Stop::Clean,
            Ok(Ok(status)) => Stop::Failed(status.code()),
            Ok(Err(_)) => Stop::Failed(None),
            Err(_) => {
                // It can only fail when the child has just ended, which is what we want.
                let _ = self.child.kill().await;
                Stop::Killed
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n  ");
        anyhow::anyhow!(
            "{} ended ({status}); {} says:\n  {tail}",
            self.name,
            self.log.display()
        )
    }
}

/// Sends SIGTERM, unless the child has been waited for already.
#[expect(
    unsafe_code,
    reason = "no other way to send a signal without another crate"
)]
fn terminate(child: &Child) {
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) else {
        return;
    };
    // SAFETY: `kill` touches no memory of ours; the child is not waited for yet (it has an id),
    // so the number still belongs to it.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
}

/// Lets the kernel end the child when this process dies, whatever it dies of.
///
/// The signal comes when the *thread* that started the child ends. Everything here runs on the
/// main thread, which ends last.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the call must be made in the child, before it runs the program"
)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let ask_kernel = move || {
        // SAFETY: `prctl` with these arguments and `getppid` only read and set state of the
        // calling process; both are safe between fork and exec.
        let (result, now_parent) = unsafe {
            let result = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            (result, libc::getppid())
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent may have died before the call; then no signal will come.
        if u32::try_from(now_parent) == Ok(parent) {
            Ok(())
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: the closure calls nothing but async-signal-safe functions and allocates nothing.
    unsafe {
        command.pre_exec(ask_kernel);
    }
}

/// Other systems have no such signal; `kill_on_drop` covers all but a kill of this process.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests;
