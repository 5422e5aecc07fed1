//! The process before and the process after: what a proxy that was started by another one takes from it,
//! and how it starts the next.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use crate::handover::{Channel, HandoverError, Note, STDIN, Sockets, VARIABLE};

/// Name of the line to process 1 among the sockets that are handed over.
const LINE: &str = "process 1";

/// The process before, if there was one.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    channel: Option<Channel>,
    /// What it left.
    pub(super) sockets: Sockets,
}

/// A line to process 1, which stays while others take its place, and has to know them.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

/// The process after, which is not ready yet.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) child: Child,
    pub(super) channel: Channel,
}

// === impl Predecessor ===

impl Predecessor {
    /// Takes what the process before left. This waits, since nothing can be done without it.
    pub(super) fn find() -> Result<Self, HandoverError> {
        let Some(channel) = Channel::inherited()? else {
            return Ok(Self::default());
        };
        let sockets = channel.receive_sockets()?;
        Ok(Self {
            channel: Some(channel),
            sockets,
        })
    }

    /// Whether there was one.
    pub(super) fn is_there(&self) -> bool {
        self.channel.is_some()
    }

    /// The line to process 1, if it waits for the end of those that took its place.
    pub(super) fn take_line(&mut self) -> Option<Line> {
        self.sockets.take(LINE).pop().map(Line)
    }

    /// What else is left of its sockets.
    pub(super) fn take_sockets(&mut self) -> Sockets {
        std::mem::take(&mut self.sockets)
    }

    /// Tells the process before that this one serves: it can go.
    pub(super) fn tell_ready(self) {
        let told = self.channel.map(|channel| channel.tell(&Note::Ready));
        if let Some(Err(error)) = told {
            // One that ended meanwhile leaves all the more to this one.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the process before does not listen");
        }
    }
}

// === impl Line ===

impl Line {
    /// Both ends of a new line.
    pub(super) fn pair() -> Result<(Channel, Self), HandoverError> {
        let (near, far) = Channel::pair()?;
        Ok((near, Self(far.into_socket())))
    }

    /// Tells process 1 that the process with this number has taken our place.
    pub(super) fn succeed(&self, pid: u32) -> Result<(), HandoverError> {
        let io = |source| HandoverError::Io {
            doing: "tell process 1",
            source,
        };
        let channel = Channel::from_socket(self.0.try_clone().map_err(io)?);
        channel.tell(&Note::Successor(i32::try_from(pid).unwrap_or(0)))
    }

    /// Adds another hold on it to what is handed over.
    pub(super) fn add_to(&self, sockets: &mut Sockets) -> io::Result<()> {
        sockets.add(LINE, self.0.try_clone()?);
        Ok(())
    }
}

// === impl Successor ===

impl Successor {
    /// Starts the program by the path, the arguments and the environment that this one was started by:
    /// the file at that path may be another one by now.
    pub(super) fn start() -> Result<Self, HandoverError> {
        let io = |source| HandoverError::Io {
            doing: "start the program",
            source,
        };
        let mut arguments = std::env::args_os();
        let program = arguments.next().filter(|it| !it.is_empty());
        let program = program.unwrap_or_else(|| OsString::from("meshproxy"));
        let (near, far) = Channel::pair()?;
        let child = Command::new(program)
            .args(arguments)
            .env(VARIABLE, STDIN)
            .stdin(Stdio::from(far.into_socket()))
            .spawn()
            .map_err(io)?;
        Ok(Self {
            child,
            channel: near,
        })
    }
}
