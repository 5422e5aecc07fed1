//! One downstream connection from its accept to its end: where it was going, what secures it, what it
//! speaks, and who serves that.

mod early;
pub(crate) mod first_bytes;
mod listen;
mod transport;
mod undeclared;

use std::future::Future;
use std::rc::Rc;

use bytes::BytesMut;
use config::wire::Demand;
use http::Version;

use crate::demand::Demands;
use crate::drain::Ticket;
use crate::io::Io;
use crate::listener::original_dst::original_dst;
use crate::listener::proxy_protocol;
use crate::request::{Downstream, server};
use crate::snapshot::Current;
use crate::table::{Direction, Listener, Speaks, Transport};
use crate::tcp;
use crate::tls::gateway::OpaqueArrival;
use crate::tls::handshakes::Shaking;
use crate::tls::server::{Agreed, HandshakeError};
use crate::worker::Worker;

/// Serves a connection until either side ends it. It counts as open from the call on, so that nobody
/// who waits for the last connection misses one that was not polled yet.
pub fn connection(
    worker: Rc<Worker>,
    io: Io,
    downstream: Downstream,
) -> impl Future<Output = ()> + 'static {
    let ticket = worker.drain.enter(&downstream.bind);
    serve(worker, io, downstream, ticket)
}

async fn serve(worker: Rc<Worker>, mut io: Io, mut downstream: Downstream, mut ticket: Ticket) {
    let counted = worker.count_connection();
    downstream.ending = Some(ticket.ending());
    if let Some(balancers) = &worker.balancers {
        // In a box: few connections begin with a header.
        let meeting = proxy_protocol::meet(balancers, &worker, &mut io, &mut downstream);
        if !Box::pin(meeting).await {
            return;
        }
    }
    if !find_original(&worker, &io, &mut downstream) {
        return;
    }
    learn(&worker, &downstream).await;
    let let_in = match is_looked_into(&worker, &downstream) {
        false => transport::enter(&worker, io, &mut downstream, &mut ticket).await,
        // In a box: it is large, and listeners of HTTP do without.
        true => Box::pin(undeclared::enter(&worker, io, &mut downstream, &mut ticket)).await,
    };
    let mut entered = match let_in {
        Ok(Some(Entry::Http(entered))) => entered,
        Ok(Some(Entry::Opaque(snapshot, arrival))) => {
            // A task of its own: this one has room for HTTP, and would be kept for as long.
            ticket.go_on(|ticket| {
                let carried = tcp::serve(worker, snapshot, downstream, *arrival, ticket);
                let carried = async move {
                    let _counted = counted;
                    carried.await;
                };
                tokio::task::spawn_local(carried).abort_handle()
            });
            return;
        }
        Ok(None) => return,
        Err(refused) => return refused.part(&worker, &downstream).await,
    };
    match server::version(&worker, &mut entered, &mut ticket).await {
        Some(Version::HTTP_2) => server::serve_http2(worker, downstream, entered, ticket).await,
        Some(_) => {
            let Entered { io, first, .. } = entered;
            server::http1::serve(worker, &downstream, io, first, ticket).await;
        }
        None => {}
    }
}

/// What a connection turned out to be that was let in.
enum Entry {
    Http(Entered),
    /// It goes where its route leads, by the snapshot that the route is of.
    Opaque(Current, Box<OpaqueArrival>),
}

/// A connection whose HTTP is to come.
pub(crate) struct Entered {
    pub(crate) io: Io,
    pub(crate) agreed: Agreed,
    /// What was read of it already.
    pub(crate) first: BytesMut,
}

/// A connection that was not let in.
struct Refused {
    error: HandshakeError,
    /// Its handshake, if there was one.
    shaking: Option<Shaking>,
}

/// Notes where a connection was going that was captured. Says whether it may go on.
fn find_original(worker: &Worker, io: &Io, downstream: &mut Downstream) -> bool {
    let snapshot = worker.snapshot();
    let takes_captured = |it: &Listener| it.captured.is_some();
    let listener = snapshot.table.listener(&downstream.bind);
    if !listener.is_some_and(|it| takes_captured(it)) {
        return true;
    }
    let is_taken_at = |port| {
        let mut listeners = snapshot.table.listeners.iter();
        listeners.any(|it| takes_captured(it) && it.bind.port() == Some(port))
    };
    match original_dst(io, downstream.peer, is_taken_at) {
        Ok(original) => {
            downstream.original = Some(original);
            true
        }
        Err(stray) => {
            worker.count_rejection(stray.cause());
            let (bind, peer) = (&downstream.bind, downstream.peer);
            let peer = peer.map(tracing::field::display);
            tracing::debug!(%bind, peer, why = %stray, "connection refused");
            false
        }
    }
}

/// Waits for what the control plane knows of where a captured connection was going, unless that is known.
async fn learn(worker: &Worker, downstream: &Downstream) {
    if let Some((demands, demand)) = unknown(worker, downstream) {
        // In a box, with what it is about: few connections wait.
        Box::pin(async move { worker.hold(demands, &demand).await }).await;
    }
}

/// What is to be asked of the control plane before a captured connection goes on: who has the address
/// that it was going to, unless that is known.
fn unknown<'w>(worker: &'w Worker, downstream: &Downstream) -> Option<(&'w Demands, Demand)> {
    let demands = worker.demands.as_ref()?;
    let original = downstream.original?;
    let snapshot = worker.snapshot();
    let listener = snapshot.table.listener(&downstream.bind)?;
    let captured = listener.captured.as_ref()?;
    if listener.direction != Direction::Outbound {
        return None;
    }
    let demand = demands.of_address(&snapshot.answered, original)?;
    (!captured.has(original)).then_some((demands, demand))
}

/// Whether nobody said that HTTP is spoken where a connection goes. Servers of TLS say it each for
/// itself.
fn is_looked_into(worker: &Worker, downstream: &Downstream) -> bool {
    let snapshot = worker.snapshot();
    let Some(listener) = snapshot.table.listener_of(downstream) else {
        return false;
    };
    match listener.speaks {
        Speaks::Http => false,
        Speaks::Tls | Speaks::Opaque | Speaks::Unknown => {
            !matches!(listener.transport, Transport::Servers(_))
        }
    }
}

// === impl Refused ===

impl Refused {
    fn within(shaking: Shaking, error: HandshakeError) -> Self {
        Self {
            error,
            shaking: Some(shaking),
        }
    }

    /// Tells of it, and stays until the client has heard why.
    async fn part(self, worker: &Worker, downstream: &Downstream) {
        worker.refuse_handshake(downstream, &self.error);
        if let Some(shaking) = self.shaking {
            Box::pin(shaking.part()).await;
        }
    }
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        Self {
            error,
            shaking: None,
        }
    }
}

#[cfg(test)]
mod tests;
