//! `SIGUSR2`: the program is started anew and takes this one's place.
//!
//! The new process gets the listening sockets and says when it serves. Only then does this one stop to
//! take connections. If it does not come so far, it is ended, and nothing has happened: it never took a
//! connection.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::successor::Successor;
use crate::handover::{Channel, HandoverError, Note, Sockets};

/// A process on its way to take this one's place.
pub(super) struct Upgrade {
    child: std::process::Child,
    /// Ends with the channel when all sockets are sent.
    sending: JoinHandle<(Channel, Result<(), HandoverError>)>,
    channel: Option<Channel>,
    deadline: Instant,
}

/// Why a process did not take this one's place.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("hand over the sockets")]
    Handover(#[from] HandoverError),
    #[error("it was not ready in time (--upgrade-timeout)")]
    TimedOut,
    #[error("it told something else than that it is ready")]
    Confused,
}

// === impl Upgrade ===

impl Upgrade {
    /// Starts the program and begins to hand over `sockets`.
    pub(super) fn begin(sockets: Sockets, limit: Duration) -> Result<Self, UpgradeError> {
        let Successor { child, channel } = Successor::start()?;
        // Elsewhere, because it waits for the other process to take them.
        let sending = tokio::task::spawn_blocking(move || {
            let sent = channel.send_sockets(&sockets);
            (channel, sent)
        });
        Ok(Self {
            child,
            sending,
            channel: None,
            deadline: Instant::now() + limit,
        })
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process is ready, or is not going to be.
    ///
    /// # Cancel safety
    ///
    /// It can be called again.
    pub(super) async fn outcome(&mut self) -> Result<(), UpgradeError> {
        match timeout_at(self.deadline, self.ready()).await {
            Ok(ready) => ready,
            Err(_) => Err(UpgradeError::TimedOut),
        }
    }

    async fn ready(&mut self) -> Result<(), UpgradeError> {
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => {
                let sending = (&mut self.sending).await;
                let (channel, sent) = sending.map_err(|_| UpgradeError::Confused)?;
                sent?;
                none.insert(channel)
            }
        };
        match channel.told().await? {
            Note::Ready => Ok(()),
            Note::Sockets(_) | Note::End | Note::Successor(_) => Err(UpgradeError::Confused),
        }
    }

    /// Ends the process, if it did not end by itself; says how.
    pub(super) async fn give_up(mut self) -> Option<std::process::ExitStatus> {
        // One that is gone already cannot be ended.
        let _ = self.child.kill();
        let waiting = tokio::task::spawn_blocking(move || self.child.wait().ok());
        waiting.await.ok().flatten()
    }
}
