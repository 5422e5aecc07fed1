//! Listening sockets that go from a running proxy to the one that takes its place.
//!
//! The sockets themselves are passed, not what is needed to bind them again: a connection that waits in
//! a socket's queue belongs to that socket, and would be reset with it. So there is no moment in which
//! nobody listens, and none in which a connection is refused.
//!
//! The new process gets its end of the channel as standard input: the one descriptor that a program has
//! by its number alone, without code that the compiler cannot check.

mod channel;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

pub use channel::{Channel, HandoverError, Note};

/// Names the channel in the environment of the new process.
pub const VARIABLE: &str = "MESHPROXY_HANDOVER";
/// What it says: which descriptor the channel is.
pub const STDIN: &str = "stdin";

/// Sockets by name; several may have the same.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<String, Vec<OwnedFd>>);

// === impl Sockets ===

impl Sockets {
    /// Adds a socket to those that are called `name`.
    pub fn add(&mut self, name: impl Into<String>, socket: impl Into<OwnedFd>) {
        self.0.entry(name.into()).or_default().push(socket.into());
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        for (name, sockets) in others.0 {
            self.0.entry(name).or_default().extend(sockets);
        }
    }

    /// Takes those that are called `name`; none if there are none.
    pub fn take(&mut self, name: &str) -> Vec<OwnedFd> {
        self.0.remove(name).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        let named = self.0.iter();
        named.flat_map(|(name, sockets)| sockets.iter().map(|it| (name.as_str(), it)))
    }

    /// Duplicates, so that both can be held.
    ///
    /// # Errors
    ///
    /// When there are no more file descriptors.
    pub fn duplicate(&self) -> io::Result<Self> {
        let mut sockets = Self::default();
        for (name, socket) in self.iter() {
            sockets.add(name, socket.try_clone()?);
        }
        Ok(sockets)
    }
}
