//! Process 1 of a container whose place another process has taken.
//!
//! With it the container would end. So it stays until the last of those that took its place has ended,
//! passes signals on to it, and ends as it ended. As process 1 it also buries whoever else is left to it.

use std::process::ExitCode;

use rustix::process::{Pid, Signal as System, WaitOptions, kill_process, wait};

use super::signals::{Signal, Signals};
use crate::handover::{Channel, Note};

/// Exit codes of processes that a signal ended begin here, as shells have it.
const BY_SIGNAL: i32 = 128;
/// Most processes that are buried at once; the next signal tells of more.
const BURIED_MAX: usize = 1_024;

/// The process that has our place, as process 1 sees it.
#[derive(Debug)]
pub(super) struct Heir {
    pid: Pid,
    /// Where those that take its place say so.
    line: Channel,
    /// How it ended, if it did while this one still drained.
    ended: Option<u8>,
}

// === impl Heir ===

impl Heir {
    pub(super) fn new(pid: u32, line: Channel) -> Option<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        Some(Self {
            pid,
            line,
            ended: None,
        })
    }

    /// Passes a signal on.
    pub(super) fn pass_on(&mut self, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => System::TERM,
            Signal::Interrupt => System::INT,
            Signal::Reload => System::HUP,
            Signal::Upgrade => System::USR2,
            Signal::Child => return self.bury(),
        };
        self.hear();
        if let Err(error) = kill_process(self.pid, signal) {
            tracing::debug!(%error, "signal not passed on");
        }
    }

    /// Whether the last of those that took our place has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Waits until the last of those that took our place has ended, and says how.
    pub(super) async fn outlive(mut self, mut signals: Signals) -> ExitCode {
        loop {
            // Signals of before may stand for several ends.
            self.bury();
            if let Some(code) = self.ended {
                return ExitCode::from(code);
            }
            let signal = signals.next().await;
            self.pass_on(signal);
        }
    }

    /// Learns who took the place of whom.
    fn hear(&mut self) {
        while let Ok(Some(note)) = self.line.receive_now() {
            if let Note::Successor(pid) = note
                && let Some(pid) = Pid::from_raw(pid)
            {
                self.pid = pid;
            }
        }
    }

    /// Buries the processes that have ended.
    fn bury(&mut self) {
        for _ in 0..BURIED_MAX {
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                return;
            };
            // Whoever made room for another has said so before its end.
            self.hear();
            if pid != self.pid {
                continue;
            }
            let by_signal = status.terminating_signal().map(|it| BY_SIGNAL + it);
            let code = status.exit_status().or(by_signal).unwrap_or(1);
            self.ended = Some(u8::try_from(code).unwrap_or(1));
        }
    }
}
