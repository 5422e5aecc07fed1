//! What the system tells the process.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// The signals that mean something here.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    user2: unix::Signal,
    child: unix::Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// `SIGTERM`: stop in order.
    Terminate,
    /// `SIGINT`: the same, for whoever sits in front of it: nobody has to learn of it first.
    Interrupt,
    /// `SIGHUP`: read the configuration again.
    Reload,
    /// `SIGUSR2`: start the program anew in this one's place.
    Upgrade,
    /// `SIGCHLD`: a process ended that this one started or inherited.
    Child,
}

// === impl Signals ===

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            user2: unix::signal(SignalKind::user_defined2())?,
            child: unix::signal(SignalKind::child())?,
        })
    }

    /// Waits until one tells to stop; others are of no account.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::next`].
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Terminate | Signal::Interrupt) {}
    }

    /// The next signal.
    ///
    /// # Cancel safety
    ///
    /// No signal is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user2.recv() => Signal::Upgrade,
            _ = self.child.recv() => Signal::Child,
        }
    }
}
