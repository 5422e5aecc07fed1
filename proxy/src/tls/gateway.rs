//! TLS at gateways: the server is chosen by the name that the client asks for (SNI, RFC 6066 §3)
//! before anything is answered, as servers of one port may speak other versions of TLS, ask for
//! other certificates, or leave TLS alone.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::UnixTime;
use rustls::{HandshakeKind, ServerConfig};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::io::Io;
use crate::table::host::HostTable;
use crate::table::opaque::{ConnectionView, OpaqueRoute, OpaqueRoutes};
use crate::tcp::Early;
use crate::tls::clients::{ClientRules, Leniency};
use crate::tls::handshakes::Shaking;
use crate::tls::hello::HelloError;
use crate::tls::identity::workload_of;
use crate::tls::server::{
    Greeting, HANDSHAKE_TIMEOUT, HandshakeError, PROTOCOL_VERSION, Secured, agreed, greeting,
    shake_hands,
};
use crate::tls::verify::PeerFault;
use crate::tls::{Security, forwarded};

/// The alert that says that there is no server of the name (RFC 6066 §3), in a record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// What a client hears that speaks HTTP without TLS where it is only spoken within.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
content-type: text/plain\r\ncontent-length: 40\r\nconnection: close\r\n\r\n\
plain HTTP request sent to an HTTPS port";

/// The servers of one port with TLS, by the names that clients ask for.
pub type TlsServers = HostTable<TlsServer>;

/// One server of such a port.
#[derive(Debug)]
pub enum TlsServer {
    /// TLS ends here, and HTTP is inside: the hosts it serves, and none of its neighbours'.
    Http(Arc<Acceptance>, HostTable),
    /// TLS ends here, and what is inside goes where these say, whatever it is.
    Opaque(Arc<Acceptance>, OpaqueRoutes),
    /// TLS passes through untouched, by the name that is asked for.
    Passthrough(OpaqueRoutes),
    /// What it asks for cannot be done for now. It keeps its names, lest another server take them
    /// and ask for less.
    Shut,
}

/// How TLS ends at a server.
#[derive(Debug)]
pub struct Acceptance {
    pub(crate) config: Arc<ServerConfig>,
    /// What judges clients; none if they are not asked.
    pub(crate) clients: Option<Arc<ClientRules>>,
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// HTTP is to come.
    Http(Secured),
    /// Anything is to come.
    Opaque(OpaqueArrival),
}

/// A connection that is not HTTP, as far as we know.
#[derive(Debug)]
pub(crate) struct OpaqueArrival {
    pub(crate) io: Io,
    /// What was read of it and not used up.
    pub(crate) read: BytesMut,
    /// What TLS says of it, until somebody takes it.
    pub(crate) security: Option<Security>,
    /// Where it goes; none if nothing says where.
    pub(crate) route: Option<Arc<OpaqueRoute>>,
    /// The connection to where it goes, if one was opened before it said what it speaks.
    pub(crate) early: Option<Box<Early>>,
    /// Whether a session of before went on; none if TLS does not end here.
    pub(crate) resumed: Option<bool>,
}

/// The addresses of a connection as rules see them: that which its caller reached, and the caller's.
pub(crate) type Ends = [Option<IpAddr>; 2];

/// Lets a client in.
pub(crate) async fn accept(
    servers: &TlsServers,
    io: Io,
    ends: Ends,
    shaking: &Shaking,
) -> Result<Arrived, HandshakeError> {
    match timeout(HANDSHAKE_TIMEOUT, arrive(servers, io, ends, shaking)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout),
    }
}

async fn arrive(
    servers: &TlsServers,
    mut io: Io,
    ends: Ends,
    shaking: &Shaking,
) -> Result<Arrived, HandshakeError> {
    let Greeting {
        server_name,
        is_old,
        read,
    } = match greeting(BytesMut::new(), &mut io).await {
        Ok(greeting) => greeting,
        Err(error @ HandshakeError::Hello(HelloError::PlainHttp)) if speak_http(servers) => {
            return Err(shaking.refuse(io, PLAIN_HTTP, error).await);
        }
        Err(error) => return Err(error),
    };
    shaking.greeted();
    let Some(server) = servers.find(&server_name) else {
        let error = HandshakeError::UnknownName;
        return Err(shaking.refuse(io, &UNRECOGNIZED_NAME, error).await);
    };
    match &**server {
        TlsServer::Shut => Err(HandshakeError::Shut),
        TlsServer::Passthrough(routes) => Ok(Arrived::Opaque(OpaqueArrival {
            route: routes.find(view(ends, Some(&*server_name))).cloned(),
            io,
            read,
            early: None,
            security: Some(Security::unproved(server_name)),
            resumed: None,
        })),
        TlsServer::Http(..) | TlsServer::Opaque(..) if is_old => {
            let error = HandshakeError::OldVersion;
            Err(shaking.refuse(io, &PROTOCOL_VERSION, error).await)
        }
        TlsServer::Http(acceptance, _) => {
            let secured = acceptance.accept(server_name, &read, io, shaking).await?;
            Ok(Arrived::Http(secured))
        }
        TlsServer::Opaque(acceptance, routes) => {
            let route = routes.find(view(ends, None)).cloned();
            let secured = acceptance.accept(server_name, &read, io, shaking).await?;
            Ok(Arrived::Opaque(OpaqueArrival {
                io: secured.io,
                read: BytesMut::new(),
                security: Some(secured.security),
                route,
                early: None,
                resumed: Some(secured.resumed),
            }))
        }
    }
}

/// A connection as the rules of a server see it.
fn view<'c>(ends: Ends, server_name: Option<&'c str>) -> ConnectionView<'c> {
    let [destination, source] = ends;
    ConnectionView {
        server_name,
        destination,
        source,
    }
}

/// Whether HTTP is spoken in TLS with any of them.
fn speak_http(servers: &TlsServers) -> bool {
    servers.iter().any(|(_, server)| server.hosts().is_some())
}

// === impl TlsServer ===

impl TlsServer {
    /// The hosts that it serves by HTTP.
    pub(crate) fn hosts(&self) -> Option<&HostTable> {
        match self {
            Self::Http(_, hosts) => Some(hosts),
            Self::Opaque(..) | Self::Passthrough(_) | Self::Shut => None,
        }
    }

    /// Where connections go that it does not serve by HTTP.
    pub(crate) fn opaque(&self) -> Option<&OpaqueRoutes> {
        match self {
            Self::Opaque(_, routes) | Self::Passthrough(routes) => Some(routes),
            Self::Http(..) | Self::Shut => None,
        }
    }

    /// Whether nobody gets in.
    pub(crate) fn is_shut(&self) -> bool {
        match self {
            Self::Shut => true,
            Self::Http(..) | Self::Opaque(..) | Self::Passthrough(_) => false,
        }
    }

    /// Whether a connection that was let in may still be used: whoever was not asked for a certificate
    /// then must not get in where one is asked for now.
    pub(crate) fn admits(&self, security: &Security) -> bool {
        match self {
            Self::Http(acceptance, _) | Self::Opaque(acceptance, _) => {
                let asked = acceptance.clients.as_ref().map(|rules| &rules.demands);
                match (asked, &security.met) {
                    (None, _) => true,
                    (Some(asked), Some(met)) => Arc::ptr_eq(asked, met) || asked == met,
                    (Some(_), None) => false,
                }
            }
            Self::Passthrough(_) | Self::Shut => false,
        }
    }
}

// === impl Acceptance ===

impl Acceptance {
    async fn accept(
        &self,
        server_name: Box<str>,
        read: &[u8],
        io: Io,
        shaking: &Shaking,
    ) -> Result<Secured, HandshakeError> {
        let stream = shake_hands(read, io, &self.config, shaking).await?;
        let mut security = Security::unproved(server_name);
        if let Some(rules) = &self.clients {
            rules.note(&stream, &mut security)?;
        }
        let protocol = agreed(&stream);
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Secured {
            resumed,
            io: Io::Tls(Box::new(stream.into())),
            security,
            protocol,
        })
    }
}

// === impl ClientRules ===

impl ClientRules {
    /// Notes who a client is that these rules let in.
    ///
    /// A session that goes on from before shows no certificate again. What it showed then is judged
    /// anew: it may have expired or been revoked.
    fn note(&self, stream: &TlsStream<Io>, security: &mut Security) -> Result<(), HandshakeError> {
        security.met = Some(Arc::clone(&self.demands));
        let conn = stream.get_ref().1;
        let Some((leaf, others)) = conn.peer_certificates().and_then(<[_]>::split_first) else {
            return Ok(());
        };
        let is_judged = conn.handshake_kind() != Some(HandshakeKind::Resumed)
            && self.demands.leniency == Leniency::Refused;
        let judged = match is_judged {
            true => Ok(()),
            false => self.judge(leaf, others, UnixTime::now()),
        };
        match (judged, self.demands.leniency) {
            (Ok(()), _) => {
                security.principal = workload_of(leaf).ok();
                security.forwarded = forwarded::element(None, leaf);
            }
            (Err(_), Leniency::LetIn) => {}
            (Err(error), Leniency::Refused) => {
                let fault = PeerFault::of(&error).unwrap_or(PeerFault::Unreadable);
                return Err(fault.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshakes::Handshakes;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_waited_for_long() {
        let start = tokio::time::Instant::now();
        let (_near, far) = tokio::io::duplex(64);

        let shaking = Handshakes::default().begin(None);
        let ended = accept(
            &TlsServers::default(),
            Io::Memory(far),
            [None, None],
            &shaking,
        )
        .await;

        let error = ended.expect_err("no handshake");
        assert_eq!(error.cause(), "tls_timeout");
        assert_eq!(start.elapsed(), HANDSHAKE_TIMEOUT);
    }
}
