//! The opaque path: connections that are not HTTP, or whose TLS is not ours to end.
//!
//! A connection is let in, routed once, connected, and carried for as long as policies let it in that
//! come meanwhile. Whatever goes wrong before it is
//! connected ends it with a reset: there is no language to say it in.

pub(crate) mod carry;
mod record;

use std::net::IpAddr;
use std::rc::Rc;

use bytes::BytesMut;
use http::HeaderMap;

use crate::drain::Ticket;
use crate::inbound::authz::Denial;
use crate::inbound::standing;
use crate::request::Downstream;
use crate::snapshot::Current;
use crate::table::opaque::OpaqueRoute;
use crate::telemetry::flags::Flags;
use crate::tls::gateway::OpaqueArrival;
use crate::upstream::alone::Alone;
use crate::upstream::balance::{Keyed, Wish};
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::Member;
use crate::upstream::outlier::{self, Event};
use crate::upstream::{TcpLimits, UpstreamError};
use crate::worker::Worker;
use carry::{Carried, carry};
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
    /// A policy forbids it.
    #[error("denied: {0}")]
    Denied(Denial),
    /// No endpoint could be connected.
    #[error(transparent)]
    Upstream(UpstreamError),
}

/// A connection to an endpoint.
struct Connected {
    alone: Alone,
    limits: TcpLimits,
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
        ..
    } = arrival;
    let mut record = Record::new(&worker, &downstream, route.as_deref());
    let call = Call {
        worker: &worker,
        snapshot: &snapshot,
        downstream: &downstream,
    };
    // In a box: it is large, and not needed for as long as the connection is carried.
    let connected = Box::pin(call.connect(route.as_deref(), &mut record)).await;
    let Connected { alone, limits } = match connected {
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
    } = alone;
    let counted = record.open();
    let refused = standing::connection_refused(&worker, &downstream, admission);
    let near = (&mut near, read);
    let far = (&mut far, BytesMut::new());
    let carried = carry(near, far, &mut ticket, limits, refused, |up, down| {
        counted.passed(up, down);
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

// === impl Call ===

impl Call<'_> {
    /// Lets the connection in, and connects it to where its route leads.
    async fn connect(
        &self,
        route: Option<&OpaqueRoute>,
        record: &mut Record<'_>,
    ) -> Result<Connected, Refusal> {
        self.admit()?;
        let route = route.ok_or(Refusal::NoRoute)?;
        let target = route.split.choose(None, self.worker.upstream.random());
        let id = target.and_then(|target| target.destination.at(route.port));
        let destination = id.and_then(|id| self.snapshot.destinations.get(id));
        let destination = destination.and_then(|it| it.reached(self.downstream.original));
        let destination = destination.ok_or(Refusal::UnknownDestination)?;
        record.routed(&destination);
        let (alone, member) = self
            .reach(&destination, route)
            .await
            .map_err(Refusal::Upstream)?;
        record.connected(member);
        Ok(Connected {
            alone,
            limits: TcpLimits::of(&destination.policy),
        })
    }

    /// Lets the connection in by the policies of its listener.
    fn admit(&self) -> Result<(), Refusal> {
        let listener = self.snapshot.table.listener_of(self.downstream);
        let admission = listener.and_then(|listener| listener.admission.as_ref());
        match admission.and_then(|admission| admission.authorization.as_ref()) {
            Some(authorization) => authorization
                .authorize_connection(self.downstream)
                .map_err(Refusal::Denied),
            None => Ok(()),
        }
    }

    /// Connects to an endpoint, or to others where that fails.
    async fn reach<'d>(
        &self,
        destination: &'d Destination,
        route: &OpaqueRoute,
    ) -> Result<(Alone, &'d Member), UpstreamError> {
        let source = self.downstream.peer.map(|peer| peer.ip());
        let key = source.and_then(|source| key_of(destination, source));
        let mut tried: Vec<u64> = Vec::new();
        loop {
            let wish = Wish {
                key,
                tried: &tried,
                far: false,
            };
            let member = self.worker.upstream.pick(destination, &wish)?;
            let upstream = &self.worker.upstream;
            let opened = upstream
                .open_alone(destination, member, route.carriage)
                .await;
            let error = match opened {
                Ok(alone) => return Ok((alone, member)),
                Err(error) => error,
            };
            if let Some(rules) = destination.policy.outlier.as_deref()
                && error.blames_endpoint()
            {
                let now = tokio::time::Instant::now();
                outlier::observe(rules, destination, member, Event::Failed, now);
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
            Self::UnknownDestination => Flags::NC,
            Self::Denied(_) => Flags::UAEX,
            Self::Upstream(error) => error.flag(),
        }
    }

    /// The cause in one word, for the log.
    pub(crate) fn detail(&self) -> &'static str {
        match self {
            Self::NoRoute => "route_not_found",
            Self::UnknownDestination => "cluster_not_found",
            Self::Denied(_) => "rbac_access_denied",
            Self::Upstream(_) => "upstream_connect_failure",
        }
    }
}
