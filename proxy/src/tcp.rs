//! The opaque path: connections that are not HTTP, or whose TLS is not ours to end.
//!
//! A connection is let in, routed once, connected, and carried for as long as policies let it in that
//! come meanwhile. Whatever goes wrong before it is
//! connected ends it with a reset: there is no language to say it in.

pub(crate) mod carry;
mod record;
mod splice;
mod watch;

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderMap;

use crate::drain::Ticket;
use crate::inbound::authz::Denial;
use crate::inbound::standing;
use crate::request::Downstream;
use crate::snapshot::Current;
use crate::table::opaque::{Carriage, OpaqueRoute};
use crate::telemetry::flags::Flags;
use crate::tls::gateway::OpaqueArrival;
use crate::upstream::alone::Alone;
use crate::upstream::balance::{Keyed, Wish};
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::outlier::{self, Event};
use crate::upstream::{TcpLimits, UpstreamError};
use crate::worker::Worker;
use carry::{Carried, Terms, carry};
use record::Record;

/// How many endpoints are tried for a connection. Nothing was said to those that could not be
/// connected, so that trying others does no harm.
const CONNECTS_MAX: usize = 3;

/// Why a connection leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nothing says where it goes.
    #[error("no route")]
    NoRoute,
    /// The rule's destination does not exist.
    #[error("cluster not found")]
    UnknownDestination,
    /// There is too little memory for new work.
    #[error("too little memory for new work")]
    Shed,
    /// A policy forbids it.
    #[error("denied: {0}")]
    Denied(Denial),
    /// No endpoint could be connected.
    #[error(transparent)]
    Upstream(UpstreamError),
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) alone: Alone,
    pub(crate) member: Member,
}

/// A connection to where one goes that was opened before its client had said what it speaks, or why
/// there is none.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) destination: Arc<Destination>,
    pub(crate) opened: Result<Opened, UpstreamError>,
    /// What the other side has said.
    pub(crate) read: BytesMut,
}

/// A connection that goes on.
struct Connected {
    alone: Alone,
    limits: TcpLimits,
    /// What the other side has said.
    read: BytesMut,
}

/// Carries a connection to where its route leads, until either side ends it. The route's destinations
/// are those of `snapshot`.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    snapshot: Current,
    downstream: Downstream,
    arrival: OpaqueArrival,
    mut ticket: Ticket,
) {
    let OpaqueArrival {
        io: mut near,
        read,
        route,
        early,
        ..
    } = arrival;
    let mut record = Record::new(&worker, &downstream, route.as_deref());
    let call = Call {
        worker: &worker,
        snapshot: &snapshot,
        downstream: &downstream,
    };
    // In a box: it is large, and not needed for as long as the connection is carried.
    let connected = Box::pin(call.connect(route.as_deref(), early, &mut record)).await;
    let Connected {
        alone,
        limits,
        read: far_read,
    } = match connected {
        Ok(connected) => connected,
        Err(refusal) => {
            near.reset_on_close();
            return record.refused(&refusal);
        }
    };
    let admission = standing::admission(&snapshot, &downstream);
    // The connection may outlive many generations, and needs nothing of its own any more.
    drop(snapshot);
    let Alone {
        io: mut far,
        open: _open,
        active: _active,
        peer: _,
    } = alone;
    let counted = record.open();
    let refused = standing::connection_refused(&worker, &downstream, admission);
    let near = (&mut near, read);
    let far = (&mut far, far_read);
    let terms = Terms {
        carrier: &worker.carrier,
        ticket: &mut ticket,
        limits,
    };
    let carried = carry(near, far, terms, refused, |up, down| {
        counted.passed(up, down);
        record.passed(up, down);
    });
    let Carried { up, down, ended } = carried.await;
    record.ended(up, down, ended);
}

/// What decides where a connection goes.
struct Call<'c> {
    worker: &'c Rc<Worker>,
    snapshot: &'c Current,
    downstream: &'c Downstream,
}

// === impl Early ===

impl Early {
    /// Ends the connection, on which nothing was said.
    pub(crate) fn give_up(self) {
        if let Ok(opened) = self.opened {
            opened.alone.give_up();
        }
    }
}

// === impl Call ===

impl Call<'_> {
    /// Lets the connection in, and connects it to where its route leads, unless it is connected.
    async fn connect(
        &self,
        route: Option<&OpaqueRoute>,
        early: Option<Box<Early>>,
        record: &mut Record<'_>,
    ) -> Result<Connected, Refusal> {
        let let_in = self.admit().and_then(|()| route.ok_or(Refusal::NoRoute));
        let early = match (let_in, early) {
            (Ok(_), Some(early)) => *early,
            (Ok(route), None) => self.connect_now(route, record).await?,
            (Err(refusal), early) => {
                if let Some(early) = early {
                    early.give_up();
                }
                return Err(refusal);
            }
        };
        record.routed(&early.destination);
        let Opened { alone, member } = early.opened.map_err(Refusal::Upstream)?;
        record.connected(&member, &alone);
        Ok(Connected {
            alone,
            limits: TcpLimits::of(&early.destination.policy),
            read: early.read,
        })
    }

    async fn connect_now(
        &self,
        route: &OpaqueRoute,
        record: &mut Record<'_>,
    ) -> Result<Early, Refusal> {
        let destination = destination(self.worker, self.snapshot, self.downstream, route);
        let destination = destination.ok_or(Refusal::UnknownDestination)?;
        record.routed(&destination);
        let (worker, downstream) = (self.worker, self.downstream);
        let to = Arc::clone(&destination);
        Ok(Early {
            opened: open(worker, downstream, to, route.carriage).await,
            destination,
            read: BytesMut::new(),
        })
    }

    /// Lets the connection in by the policies of its listener, if there is room for it.
    fn admit(&self) -> Result<(), Refusal> {
        if self.worker.sheds() {
            return Err(Refusal::Shed);
        }
        let listener = self.snapshot.table.listener_of(self.downstream);
        let admission = listener.and_then(|listener| listener.admission.as_ref());
        match admission.and_then(|admission| admission.authorization.as_ref()) {
            Some(authorization) => authorization
                .authorize_connection(self.downstream)
                .map_err(Refusal::Denied),
            None => Ok(()),
        }
    }
}

/// Where a route leads this time; none if the rule's destination does not exist.
pub(crate) fn destination(
    worker: &Worker,
    snapshot: &Current,
    downstream: &Downstream,
    route: &OpaqueRoute,
) -> Option<Arc<Destination>> {
    let target = route.split.choose(None, worker.upstream.random())?;
    let id = target.destination.at(route.port)?;
    let destination = snapshot.destinations.get(id)?;
    let reached = destination.reached(downstream.original)?;
    Some(Arc::clone(&reached))
}

/// Connects to an endpoint, or to others where that fails.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    destination: Arc<Destination>,
    carriage: Carriage,
) -> Result<Opened, UpstreamError> {
    let source = downstream.peer.map(|peer| peer.ip());
    let key = source.and_then(|source| key_of(&destination, source));
    let caller = downstream.caller(&destination);
    let mut tried: Vec<u64> = Vec::new();
    loop {
        let wish = Wish {
            key,
            tried: &tried,
            far: false,
        };
        let member = worker.upstream.pick(&destination, &wish)?;
        let opened = worker
            .upstream
            .open_alone(&destination, member, carriage, caller)
            .await;
        let error = match opened {
            Ok(alone) => {
                let member = member.clone();
                return Ok(Opened { alone, member });
            }
            Err(error) => error,
        };
        if let Some(rules) = destination.policy.outlier.as_deref()
            && error.blames_endpoint()
        {
            let now = tokio::time::Instant::now();
            outlier::observe(rules, &destination, member, Event::Failed, now);
        }
        let again = error.connect_fault().is_some()
            && tried.len() + 1 < CONNECTS_MAX
            && !tried.contains(&member.endpoint.id);
        if !again {
            return Err(error);
        }
        tried.push(member.endpoint.id);
    }
}

/// What ties connections of one source to an endpoint, if something does.
fn key_of(destination: &Destination, source: IpAddr) -> Option<u64> {
    let affinity = destination.balancer.affinity()?;
    affinity.key.as_ref()?.of(&Keyed {
        headers: &HeaderMap::new(),
        authority: b"",
        target: "",
        source: Some(source),
    })
}

// === impl Refusal ===

impl Refusal {
    /// The flags that name the cause in metrics and log.
    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self::NoRoute => Flags::NR,
            Self::Shed => Flags::OM,
            Self::UnknownDestination => Flags::NC,
            Self::Denied(_) => Flags::UAEX,
            Self::Upstream(error) => error.flag(),
        }
    }

    /// The cause in one word, for the log; of a denial with the policy that says so.
    pub(crate) fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::NoRoute => "route_not_found".into(),
            Self::Shed => crate::worker::MEMORY.into(),
            Self::UnknownDestination => "cluster_not_found".into(),
            Self::Denied(denial) => denial.to_string().into(),
            Self::Upstream(_) => "upstream_connect_failure".into(),
        }
    }
}

#[cfg(test)]
mod tests;
