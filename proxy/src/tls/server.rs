//! TLS towards clients: the handshake.

use std::cell::Cell;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::io::Io;
use crate::tls::Security;
use crate::tls::hello::{self, Hello, HelloError};
use crate::tls::verify::PeerFault;

/// Limit of a handshake, from the connect on.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes of one worker at once, so that clients who begin many and end none are bounded in
/// memory: each has some 20 KiB.
const HANDSHAKES_MAX: usize = 4_096;
/// Room for one read of a greeting.
const READ_BYTES: usize = 4 * 1024;
/// The alert that says that no version is spoken in common (RFC 8446 §6.2), in a record.
const PROTOCOL_VERSION: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];
/// HTTP/2 as ALPN names it (RFC 9113 §3.1).
const ALPN_HTTP2: &[u8] = b"h2";

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) io: Io,
    pub(crate) security: Security,
    pub(crate) protocol: Agreed,
    /// Whether a session of before went on.
    pub(crate) resumed: bool,
}

/// What was agreed upon to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    Http2,
    /// HTTP/1.1, or nothing.
    Other,
}

/// The handshakes of one worker that are under way.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Rc<Cell<usize>>);

/// Counts a handshake as under way until dropped.
#[derive(Debug)]
pub(crate) struct Shaking(Rc<Cell<usize>>);

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
    #[error("{HANDSHAKES_MAX} handshakes are under way")]
    TooMany,
    #[error("plain text where mutual TLS is asked for")]
    PlainText,
    #[error("mutual TLS is asked for, and the proxy has no --identity-dir")]
    NoIdentity,
    /// The client that was let in before is not any more.
    #[error("go on with a session")]
    Session(#[from] PeerFault),
    #[error("the client speaks nothing newer than TLS 1.1")]
    OldVersion,
    #[error("no server for the name")]
    UnknownName,
    /// What the server asks for cannot be done for now.
    #[error("the server is shut")]
    Shut,
    #[error("read the client's greeting")]
    Greeting(#[source] io::Error),
    #[error("read the client's greeting")]
    Hello(#[source] HelloError),
    #[error("handshake")]
    Handshake(#[source] io::Error),
}

/// What a client said first.
pub(crate) struct Greeting {
    /// The name that it asks for; empty if it names none.
    pub(crate) server_name: Box<str>,
    /// The client speaks nothing newer than TLS 1.1.
    pub(crate) is_old: bool,
    /// All that was read to know it.
    pub(crate) read: BytesMut,
}

/// Reads a client's greeting, which begins with what was `read` already. While nothing comes it has no
/// memory.
pub(crate) async fn greeting(mut read: BytesMut, io: &mut Io) -> Result<Greeting, HandshakeError> {
    loop {
        match hello::read(&read).map_err(HandshakeError::Hello)? {
            Hello::Whole {
                server_name,
                is_old,
            } => {
                return Ok(Greeting {
                    server_name,
                    is_old,
                    read,
                });
            }
            Hello::Partial => {}
        }
        let ready = poll_fn(|cx| io.poll_read_ready(cx)).await;
        ready.map_err(HandshakeError::Greeting)?;
        read.reserve(READ_BYTES);
        let more = io.read_buf(&mut read).await;
        if more.map_err(HandshakeError::Greeting)? == 0 {
            let ended = io::ErrorKind::UnexpectedEof.into();
            return Err(HandshakeError::Greeting(ended));
        }
    }
}

/// Refuses a client that speaks nothing newer than TLS 1.1. It should know why; if it does not listen
/// there is nobody to tell.
pub(crate) async fn refuse_old(io: &mut Io) -> HandshakeError {
    let _ = io.write_all(&PROTOCOL_VERSION).await;
    HandshakeError::OldVersion
}

/// Shakes hands with a client whose greeting was `read`.
pub(crate) async fn shake_hands(
    read: &[u8],
    mut io: Io,
    config: &Arc<ServerConfig>,
) -> Result<TlsStream<Io>, HandshakeError> {
    let accepted = match accept(read) {
        Ok(accepted) => accepted,
        Err((error, alert)) => {
            // The client should know; if it does not listen there is nobody to tell.
            let _ = io.write_all(&alert).await;
            return Err(HandshakeError::Handshake(error));
        }
    };
    StartHandshake::from_parts(accepted, io)
        .into_stream(Arc::clone(config))
        .await
        .map_err(HandshakeError::Handshake)
}

/// What was agreed upon in a handshake.
pub(crate) fn agreed(stream: &TlsStream<Io>) -> Agreed {
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_HTTP2) => Agreed::Http2,
        Some(_) | None => Agreed::Other,
    }
}

/// Takes a greeting that is known to be whole; else the alert that says why not.
fn accept(mut read: &[u8]) -> Result<Accepted, (io::Error, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    while !read.is_empty() {
        match acceptor.read_tls(&mut read) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err((error, Vec::new())),
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(accepted),
        Ok(None) => Err((io::ErrorKind::InvalidData.into(), Vec::new())),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            let written = alert.write_all(&mut bytes);
            debug_assert!(written.is_ok(), "memory takes everything");
            Err((io::Error::new(io::ErrorKind::InvalidData, error), bytes))
        }
    }
}

// === impl Handshakes ===

impl Handshakes {
    /// One more, unless there are too many.
    pub(crate) fn begin(&self) -> Result<Shaking, HandshakeError> {
        let under_way = self.0.get();
        if under_way >= HANDSHAKES_MAX {
            return Err(HandshakeError::TooMany);
        }
        self.0.set(under_way + 1);
        Ok(Shaking(Rc::clone(&self.0)))
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

// === impl HandshakeError ===

impl HandshakeError {
    /// The cause as metrics name it.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Timeout => "tls_timeout",
            Self::TooMany => "tls_too_many_handshakes",
            Self::OldVersion => "tls_incompatible",
            Self::PlainText => "tls_plain_text",
            Self::NoIdentity => "tls_no_own_identity",
            Self::Session(fault) => fault.reason(),
            Self::UnknownName => "tls_unknown_name",
            Self::Shut => "tls_server_shut",
            Self::Hello(_) => "tls_protocol_error",
            Self::Greeting(error) | Self::Handshake(error) => {
                rustls_error(error).map_or("tls_closed", cause_of)
            }
        }
    }

    /// The cause in words: what is wrong with the certificate of the client, if it is that.
    pub(crate) fn words(&self) -> String {
        let fault = match self {
            Self::Session(fault) => Some(fault.clone()),
            Self::Greeting(error) | Self::Handshake(error) => {
                rustls_error(error).and_then(PeerFault::of)
            }
            Self::Timeout
            | Self::TooMany
            | Self::OldVersion
            | Self::PlainText
            | Self::NoIdentity
            | Self::UnknownName
            | Self::Shut
            | Self::Hello(_) => None,
        };
        if let Some(fault) = fault {
            return fault.to_string();
        }
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    }

    /// Whether the client only went away, which says nothing of it or of us.
    pub(crate) fn is_close(&self) -> bool {
        let (Self::Greeting(error) | Self::Handshake(error)) = self else {
            return false;
        };
        rustls_error(error).is_none()
    }
}

/// What the library found wrong, if it is that for which the connection failed.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a handshake failed, as metrics name it.
fn cause_of(error: &rustls::Error) -> &'static str {
    if let Some(fault) = PeerFault::of(error) {
        return fault.reason();
    }
    match error {
        rustls::Error::PeerIncompatible(_) => "tls_incompatible",
        rustls::Error::AlertReceived(_) => "tls_refused_by_client",
        // The library adds errors as it grows.
        _ => "tls_protocol_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_at_once_are_bounded() {
        let handshakes = Handshakes::default();
        let mut under_way: Vec<Shaking> = (0..HANDSHAKES_MAX)
            .map(|_| handshakes.begin().expect("room"))
            .collect();

        assert!(handshakes.begin().is_err());
        under_way.pop();
        assert!(handshakes.begin().is_ok());
    }

    #[test]
    fn a_client_of_old_versions_gets_an_alert() {
        // TLS 1.1 with one suite, no extensions.
        let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);

        let refused = accept(&hello).map(|_| ()).expect_err("no version of ours");

        let alert = 21;
        assert_eq!(refused.1.first(), Some(&alert), "{refused:?}");
    }
}
