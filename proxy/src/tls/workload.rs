//! TLS at the ports of a workload: mutual, told from plain text by the first byte.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::io::Io;
use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::identity::{NameError, WorkloadIdentity, workload_of};
use crate::tls::server::{Agreed, HANDSHAKE_TIMEOUT, HandshakeError, Secured};
use crate::tls::verify::PeerFault;
use crate::tls::{Security, forwarded, mutual};

/// The type of a record that carries a handshake (RFC 8446 §5.1). Nothing in HTTP begins with it.
const HANDSHAKE: u8 = 22;

/// Whether a connection that begins with these bytes is in TLS.
pub(crate) fn is_tls(first: &[u8]) -> bool {
    first.first() == Some(&HANDSHAKE)
}

/// Shakes hands with a client that began with `first`, which must prove who it is.
pub(crate) async fn accept(
    identity: &WorkloadIdentity,
    first: &[u8],
    io: Io,
) -> Result<Secured, HandshakeError> {
    match timeout(HANDSHAKE_TIMEOUT, shake_hands(identity, first, io)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout),
    }
}

async fn shake_hands(
    identity: &WorkloadIdentity,
    first: &[u8],
    io: Io,
) -> Result<Secured, HandshakeError> {
    let start = greeting(first, io).await?;
    let server_name: Box<str> = start
        .client_hello()
        .server_name()
        .unwrap_or_default()
        .into();
    let stream = start
        .into_stream(Arc::clone(&identity.server))
        .await
        .map_err(HandshakeError::Handshake)?;
    let tls = stream.get_ref().1;
    let protocol = match tls.alpn_protocol() {
        Some(protocol) if mutual::is_http2(protocol) => Agreed::Http2,
        Some(_) | None => Agreed::Other,
    };
    let certificate = tls.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or(PeerFault::NoCertificate)?;
    let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
    if resumed {
        check_dates(certificate, SystemTime::now())?;
    }
    let principal = workload_of(certificate).map_err(PeerFault::Name)?;
    let security = Security {
        server_name,
        forwarded: forwarded::element(Some(identity.id.as_str()), certificate),
        principal: Some(principal),
        met: None,
    };
    Ok(Secured {
        io: Io::Tls(Box::new(stream.into())),
        security,
        protocol,
        resumed,
    })
}

/// Reads the rest of the client's greeting.
async fn greeting(mut first: &[u8], mut io: Io) -> Result<StartHandshake<Io>, HandshakeError> {
    let mut acceptor = Acceptor::default();
    while !first.is_empty() {
        let read = acceptor.read_tls(&mut first);
        read.map_err(HandshakeError::Greeting)?;
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(StartHandshake::from_parts(accepted, io)),
        Ok(None) => LazyConfigAcceptor::new(acceptor, io)
            .await
            .map_err(HandshakeError::Greeting),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            // Memory takes everything, and a client that does not listen need not hear it.
            if alert.write_all(&mut bytes).is_ok() {
                let _ = io.write_all(&bytes).await;
            }
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            Err(HandshakeError::Greeting(error))
        }
    }
}

/// Whoever goes on with a session of before is not verified again, and the certificate may have
/// expired meanwhile. That its authority is believed is sure: other authorities have other tickets.
fn check_dates(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(), PeerFault> {
    let facts = CertificateFacts::read(certificate, Purpose::Identity, "".as_ref());
    let facts = facts.map_err(|_| PeerFault::Name(NameError::Unreadable))?;
    match facts.is_valid_at(now) {
        true => Ok(()),
        false => Err(PeerFault::Expired),
    }
}

#[cfg(test)]
mod tests;
