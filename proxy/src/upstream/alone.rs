//! Connections that are never shared and never used again: what is not HTTP, and tunnels.

use std::rc::Rc;
use std::time::Instant;

use crate::io::Io;
use crate::table::opaque::Carriage;
use crate::upstream::Upstream;
use crate::upstream::breaker::{Pending, Place};
use crate::upstream::connect::Open;
use crate::upstream::destination::{Destination, TcpProbes};
use crate::upstream::endpoint::{Active, Member};
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::{Claim, Home, Limits};

/// A connection to an endpoint for one of our own.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) io: Io,
    /// Counts it as open.
    pub(crate) open: Open,
    /// Counts it as under way at its endpoint.
    pub(crate) active: Active,
}

// === impl Upstream ===

impl Upstream {
    /// Opens a connection to an endpoint, if the limits of its destination allow.
    pub(crate) async fn open_alone(
        &self,
        destination: &Destination,
        member: &Member,
        carriage: Carriage,
    ) -> Result<Alone, UpstreamError> {
        let active = member.endpoint.begin();
        let limits = Limits::of(&destination.policy);
        let breaker = &destination.live.breaker;
        let home = self.pool.home(&member.endpoint, breaker, limits);
        let opened = match own_place(destination, &home).await {
            Ok((place, _pending)) => match carriage {
                Carriage::ByPolicy => self.connect(destination, member, place).await,
                Carriage::Untouched => self.connect_plainly(destination, member, place).await,
            },
            Err(error) => Err(error),
        };
        match opened {
            Ok((io, open)) => Ok(Alone { io, open, active }),
            Err(error) => {
                if let UpstreamError::Overflow(_) | UpstreamError::Full = error {
                    member.endpoint.unsent();
                } else {
                    member.endpoint.failed();
                }
                Err(error)
            }
        }
    }

    /// Connects without a word of our own, whatever the policy says of TLS.
    async fn connect_plainly(
        &self,
        destination: &Destination,
        member: &Member,
        place: Place,
    ) -> Result<(Io, Open), UpstreamError> {
        let policy = &destination.policy;
        let probes = policy.tcp_keepalive.map(TcpProbes::as_option);
        let addr = &member.endpoint.addr;
        let connected = self
            .connector
            .connect(addr, policy.connect_timeout, probes.as_ref())
            .await;
        let process = &self.metrics.process;
        match connected {
            Ok(io) => {
                process.upstream_connections.ok.inc();
                let gauge = &process.upstream_connections_active;
                Ok((io, Open::new(gauge, Some(place))))
            }
            Err(error) => {
                process.upstream_connections.failed.inc();
                Err(UpstreamError::Connect(error))
            }
        }
    }
}

/// A place for one more connection: no other that rests will do. It is waited for as long as a
/// connection may take to open.
pub(super) async fn own_place(
    destination: &Destination,
    home: &Rc<Home>,
) -> Result<(Place, Option<Pending>), UpstreamError> {
    let thresholds = &destination.policy.thresholds;
    let (place, pending) = match home.claim(thresholds, false, Instant::now())? {
        Some(Claim::Open(place, pending)) => (Some(place), pending),
        // What is wanted is no connection that served before, only the place of one.
        Some(Claim::Rested(_)) | None => {
            let limit = destination.policy.connect_timeout;
            (home.stand(thresholds)?.granted(limit).await?, None)
        }
    };
    Ok((place.ok_or(UpstreamError::Full)?, pending))
}
