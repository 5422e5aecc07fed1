//! A reset of a connection that nobody reads from at the moment: because the other side takes
//! nothing, or because this one has said that it will say no more.
//!
//! Readiness cannot tell: such a socket often has bytes to read, and is ready all the time. So its
//! descriptor is registered once more, for nothing but what the system always reports. That costs a
//! descriptor, and is done when it is first needed.

use std::future::pending;
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::io::{Io, Socket};

/// Looks out for a reset of one connection.
#[derive(Default)]
pub(super) enum Watch {
    /// It was not needed so far.
    #[default]
    Unset,
    /// It is registered.
    Set(Pin<Box<dyn Future<Output = io::Error>>>),
    /// It is no connection that can be reset, or the system has no descriptor left.
    Off,
}

// === impl Watch ===

impl Watch {
    /// Ready once the peer has reset the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<io::Error> {
        if let Self::Unset = self {
            *self = register(io).map_or(Self::Off, |tcp| Self::Set(Box::pin(reset(tcp))));
        }
        match self {
            Self::Set(reset) => reset.as_mut().poll(cx),
            Self::Unset | Self::Off => Poll::Pending,
        }
    }
}

/// Registers the socket under a stream a second time; none where there is none, or on an error.
fn register(io: &Io) -> Option<TcpStream> {
    let Socket::Tcp(tcp) = io.beneath()? else {
        return None;
    };
    let descriptor = tcp.as_fd().try_clone_to_owned().ok()?;
    TcpStream::from_std(StdTcpStream::from(descriptor)).ok()
}

/// Waits for an error of the connection. It is taken here, so that it must be told.
async fn reset(tcp: TcpStream) -> io::Error {
    if let Err(error) = tcp.ready(Interest::ERROR).await {
        return error;
    }
    match tcp.take_error() {
        Ok(Some(error)) | Err(error) => error,
        // A read or a write met it at the same time, and will tell.
        Ok(None) => pending().await,
    }
}
