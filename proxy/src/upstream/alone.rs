//! Connections that are never shared and never used again: what is not HTTP, and tunnels.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::io::AsyncWrite as _;

use crate::io::Io;
use crate::table::opaque::Carriage;
use crate::telemetry::metrics::Proved;
use crate::tls::client::{Channel, Speech};
use crate::upstream::breaker::{Pending, Place};
use crate::upstream::caller::Caller;
use crate::upstream::connect::{Fresh, Open};
use crate::upstream::destination::Destination;
use crate::upstream::endpoint::{Active, Member};
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::{Claim, Home, Limits, Way};
use crate::upstream::{How, Upstream};

/// A connection to an endpoint for one of our own.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) io: Io,
    /// Counts it as open.
    pub(crate) open: Open,
    /// Counts it as under way at its endpoint.
    pub(crate) active: Active,
    /// Whom the other side proved to be, if that is a workload.
    pub(crate) peer: Option<Rc<Proved>>,
}

// === impl Alone ===

impl Alone {
    /// Ends the connection, on which nothing was said.
    pub(crate) fn give_up(mut self) {
        if self.io.says_end() {
            // A farewell is short: either there is room for it, or it does not matter.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.io).poll_shutdown(&mut cx);
        }
        self.active.unsent();
    }
}

// === impl Upstream ===

impl Upstream {
    /// Opens a connection to an endpoint, if the limits of its destination allow.
    pub(crate) async fn open_alone(
        &self,
        destination: &Destination,
        member: &Member,
        carriage: Carriage,
        caller: Option<&Rc<Caller>>,
    ) -> Result<Alone, UpstreamError> {
        let active = member.endpoint.begin();
        let limits = Limits::of(&destination.policy);
        let breaker = &destination.live.breaker;
        // Whoever speaks TLS through us does not want ours around it.
        let channel = match carriage {
            Carriage::ByPolicy => &member.channel,
            Carriage::Untouched => &Channel::Plain,
        };
        // Nobody uses it again: it counts where all connections to the endpoint do.
        let way = Way {
            channel: channel.id(),
            caller: None,
        };
        let home = self.pool.home(&member.endpoint, way, breaker, limits);
        let opened = match own_place(destination, &home).await {
            Ok((place, _pending)) => {
                let how = How {
                    channel,
                    speech: Speech::Opaque,
                    caller,
                };
                self.connect(destination, member, place, how).await
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(Fresh { io, open, peer }) => Ok(Alone {
                io,
                open,
                active,
                peer,
            }),
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
