//! Connections to listeners of HTTP: let in as those ask for, in TLS or in plain text.

use bytes::BytesMut;

use super::first_bytes::first_bytes;
use super::{Entered, Entry, Refused};
use crate::drain::Ticket;
use crate::io::Io;
use crate::request::Downstream;
use crate::table::Transport;
use crate::tls;
use crate::tls::gateway::Arrived;
use crate::tls::server::{Agreed, HandshakeError, Secured};
use crate::tls::workload::is_tls;
use crate::worker::Worker;

/// Lets a connection in as its listener asks for; none if the client went away.
pub(super) async fn enter(
    worker: &Worker,
    mut io: Io,
    downstream: &mut Downstream,
    ticket: &mut Ticket,
) -> Result<Option<Entry>, Refused> {
    let mut first = BytesMut::new();
    if listens_for_tls(worker, downstream) {
        ticket.wait(Some(worker.limits.idle_timeout));
        first = match first_bytes(&mut io, ticket, worker.limits.head_timeout).await {
            Ok(first) if !first.is_empty() => first,
            Ok(_) | Err(_) => return Ok(None),
        };
        ticket.wait(None);
    }
    // Loaded when the client has begun to speak: what is asked for may have changed meanwhile.
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener_of(downstream);
    let secured = match listener.map(|it| &it.transport) {
        Some(Transport::Servers(servers)) => {
            let shaking = worker
                .handshakes
                .begin(downstream.peer.map(|peer| peer.ip()));
            // By a header of the PROXY protocol they are others than the socket's.
            let [local, peer] = io.ends();
            let addressed = downstream.addressed().map(|it| it.ip());
            let caller = downstream.peer.map(|it| it.ip());
            let ends = [addressed.or(local), caller.or(peer)];
            // A handshake is large, and most connections have none.
            let accepting = Box::pin(tls::gateway::accept(servers, io, ends, &shaking));
            match shaking.unless_given_up(accepting).await {
                Ok(Arrived::Http(secured)) => secured,
                Err(error) => return Err(Refused::within(shaking, error)),
                Ok(Arrived::Opaque(mut arrival)) => {
                    if let Some(resumed) = arrival.resumed {
                        worker.count_handshake(resumed);
                    }
                    downstream.security = arrival.security.take();
                    return Ok(Some(Entry::Opaque(snapshot, Box::new(arrival))));
                }
            }
        }
        Some(Transport::Permissive(own) | Transport::Strict(Some(own))) if is_tls(&first) => {
            let shaking = worker
                .handshakes
                .begin(downstream.peer.map(|peer| peer.ip()));
            let accepting = Box::pin(tls::workload::accept(own, first, io, &shaking));
            match shaking.unless_given_up(accepting).await {
                Ok(secured) => secured,
                Err(error) => return Err(Refused::within(shaking, error)),
            }
        }
        Some(Transport::Strict(None)) => return Err(HandshakeError::NoIdentity.into()),
        Some(Transport::Strict(Some(_))) => return Err(HandshakeError::PlainText.into()),
        Some(Transport::Plain | Transport::Permissive(_)) | None => {
            let agreed = Agreed::Other;
            return Ok(Some(Entry::Http(Entered { io, agreed, first })));
        }
    };
    let Secured {
        io,
        security,
        protocol: agreed,
        resumed,
    } = secured;
    worker.count_handshake(resumed);
    downstream.secure(security);
    let first = BytesMut::new();
    Ok(Some(Entry::Http(Entered { io, agreed, first })))
}

/// Whether the first bytes of a connection tell if it is in TLS.
fn listens_for_tls(worker: &Worker, downstream: &Downstream) -> bool {
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener_of(downstream);
    match listener.map(|it| &it.transport) {
        Some(Transport::Permissive(_) | Transport::Strict(Some(_))) => true,
        Some(Transport::Plain | Transport::Servers(_) | Transport::Strict(None)) | None => false,
    }
}
