//! TLS towards clients: the server is chosen by the name that the client asks for (SNI, RFC 6066
//! §3) before anything is answered, as servers of one port may speak other versions of TLS.

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

/// Limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
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
            Self::UnknownName => "tls_unknown_name",
            Self::Greeting(error) | Self::Handshake(error) => {
                let source = error.get_ref().and_then(|error| error.downcast_ref());
                match source {
                    Some(rustls::Error::PeerIncompatible(_)) => "tls_incompatible",
                    Some(rustls::Error::AlertReceived(_)) => "tls_refused_by_client",
                    Some(_) => "tls_protocol_error",
                    None => "tls_closed",
                }
            }
        }
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
