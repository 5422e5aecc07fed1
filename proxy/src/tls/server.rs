//! TLS towards clients: the server is chosen by the name that the client asks for (SNI, RFC 6066
//! §3) before anything is answered, as servers of one port may speak other versions of TLS.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::io::Io;
use crate::table::host::HostTable;
use crate::tls::Security;
use crate::tls::verify::PeerFault;

/// Limit of a handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 as ALPN names it (RFC 9113 §3.1).
const ALPN_HTTP2: &[u8] = b"h2";

/// The servers of one port that terminates TLS, by the names that clients ask for.
pub type TlsServers = HostTable<TlsServer>;

/// One server of such a port.
#[derive(Debug)]
pub struct TlsServer {
    /// Certificate and versions.
    pub config: Arc<ServerConfig>,
    /// The hosts it serves, and none of its neighbours'.
    pub hosts: HostTable,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) io: Io,
    pub(crate) security: Security,
    pub(crate) protocol: Agreed,
}

/// What was agreed upon to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    Http2,
    /// HTTP/1.1, or nothing.
    Other,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
    #[error("plain text where mutual TLS is asked for")]
    PlainText,
    #[error("mutual TLS is asked for, and the proxy has no --identity-dir")]
    NoIdentity,
    /// The client that was let in before is not any more.
    #[error("go on with a session")]
    Session(#[from] PeerFault),
    #[error("no server for the name")]
    UnknownName,
    #[error("read the client's greeting")]
    Greeting(#[source] io::Error),
    #[error("handshake")]
    Handshake(#[source] io::Error),
}

/// Shakes hands.
pub(crate) async fn accept(servers: &TlsServers, io: Io) -> Result<Secured, HandshakeError> {
    match timeout(HANDSHAKE_TIMEOUT, shake_hands(servers, io)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout),
    }
}

async fn shake_hands(servers: &TlsServers, io: Io) -> Result<Secured, HandshakeError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), io)
        .await
        .map_err(HandshakeError::Greeting)?;
    let server_name: Box<str> = start
        .client_hello()
        .server_name()
        .unwrap_or_default()
        .into();
    let server = servers
        .find(&server_name)
        .ok_or(HandshakeError::UnknownName)?;
    let stream = start
        .into_stream(Arc::clone(&server.config))
        .await
        .map_err(HandshakeError::Handshake)?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_HTTP2) => Agreed::Http2,
        Some(_) | None => Agreed::Other,
    };
    Ok(Secured {
        io: Io::Tls(Box::new(stream.into())),
        security: Security {
            server_name,
            principal: None,
            forwarded: None,
        },
        protocol,
    })
}

// === impl HandshakeError ===

impl HandshakeError {
    /// The cause as metrics name it.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Timeout => "tls_timeout",
            Self::PlainText => "tls_plain_text",
            Self::NoIdentity => "tls_no_own_identity",
            Self::Session(fault) => fault.reason(),
            Self::UnknownName => "tls_unknown_name",
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
            Self::Timeout | Self::PlainText | Self::NoIdentity | Self::UnknownName => None,
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_waited_for_long() {
        let start = tokio::time::Instant::now();
        let (_near, far) = tokio::io::duplex(64);

        let ended = accept(&TlsServers::default(), Io::Memory(far)).await;

        let error = ended.expect_err("no handshake");
        assert_eq!(error.cause(), "tls_timeout");
        assert_eq!(start.elapsed(), HANDSHAKE_TIMEOUT);
    }
}
