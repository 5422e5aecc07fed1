//! TLS towards clients: the handshake.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::io::Io;
use crate::tls::Security;
use crate::tls::handshakes::{HANDSHAKES_MAX, Shaking};
use crate::tls::hello::{self, Hello, HelloError};
use crate::tls::verify::PeerFault;

/// Limit of a handshake, from the connect on.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for one read of a greeting.
const READ_BYTES: usize = 4 * 1024;
/// The alert that says that no version is spoken in common (RFC 8446 §6.2), in a record.
pub(crate) const PROTOCOL_VERSION: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];
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
    Http1,
    Http2,
    /// Nothing, or nothing that says it.
    Other,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
    /// Others want in, and this one waited longest.
    #[error("given up for others: {HANDSHAKES_MAX} handshakes are under way")]
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
                ..
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

/// Shakes hands with a client whose greeting was `read`.
pub(crate) async fn shake_hands(
    read: &[u8],
    io: Io,
    config: &Arc<ServerConfig>,
    shaking: &Shaking,
) -> Result<TlsStream<Io>, HandshakeError> {
    let accepted = match accept(read) {
        Ok(accepted) => accepted,
        Err((error, alert)) => {
            let error = HandshakeError::Handshake(error);
            return Err(shaking.refuse(io, &alert, error).await);
        }
    };
    let started = StartHandshake::from_parts(accepted, io).into_stream(Arc::clone(config));
    started.into_fallible().await.map_err(|(error, io)| {
        let error = HandshakeError::Handshake(error);
        if !error.is_close() {
            // The library has sent an alert.
            shaking.keep(io);
        }
        error
    })
}

/// What was agreed upon in a handshake.
pub(crate) fn agreed(stream: &TlsStream<Io>) -> Agreed {
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_HTTP2) => Agreed::Http2,
        // At a gateway, which is asked for HTTP or for nothing in particular.
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
            Self::Hello(HelloError::PlainHttp) => "tls_plain_text",
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
