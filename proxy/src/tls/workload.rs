//! TLS at the ports of a workload: mutual, told from plain text by the first byte.

use std::time::SystemTime;

use bytes::BytesMut;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use crate::io::Io;
use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::handshakes::Shaking;
use crate::tls::identity::{NameError, WorkloadIdentity, workload_of};
use crate::tls::server::{
    self, Agreed, Greeting, HANDSHAKE_TIMEOUT, HandshakeError, PROTOCOL_VERSION, Secured, greeting,
};
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
    first: BytesMut,
    io: Io,
    shaking: &Shaking,
) -> Result<Secured, HandshakeError> {
    match timeout(HANDSHAKE_TIMEOUT, shake_hands(identity, first, io, shaking)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout),
    }
}

async fn shake_hands(
    identity: &WorkloadIdentity,
    first: BytesMut,
    mut io: Io,
    shaking: &Shaking,
) -> Result<Secured, HandshakeError> {
    let Greeting {
        server_name,
        is_old,
        read,
    } = greeting(first, &mut io).await?;
    shaking.greeted();
    if is_old {
        let error = HandshakeError::OldVersion;
        return Err(shaking.refuse(io, &PROTOCOL_VERSION, error).await);
    }
    let stream = server::shake_hands(&read, io, &identity.server, shaking).await?;
    let tls = stream.get_ref().1;
    let protocol = match tls.alpn_protocol() {
        Some(protocol) if mutual::is_http2(protocol) => Agreed::Http2,
        Some(protocol) if mutual::is_http1(protocol) => Agreed::Http1,
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
