//! A connection that switched protocols (RFC 9110 §7.8) or was connected through (§9.3.6): bytes
//! both ways, until both sides have ended or policies that came meanwhile refuse the request.

use std::future::pending;
use std::rc::Rc;

use http::Response;

use super::wire::Wire;
use crate::request::record::Recorded;
use crate::tcp::carry::{Broken, Carried, Terms, carry};
use crate::upstream::TcpLimits;
use crate::upstream::destination::IDLE_TIMEOUT;
use crate::upstream::http1::Switched;

/// How long a tunnel lasts: it may be silent for as long as any other connection.
const LIMITS: TcpLimits = TcpLimits {
    idle: Some(IDLE_TIMEOUT),
    age: None,
};

/// A tunnel that is about to begin.
pub(super) struct Tunnel {
    upstream: Box<Switched>,
    recorded: Recorded,
}

// === impl Tunnel ===

impl Tunnel {
    /// The tunnel that `response` opens; none if it opens none.
    pub(super) fn new(response: Response<Recorded>) -> Option<Self> {
        let mut recorded = response.into_body();
        let upstream = recorded.take_tunnel()?;
        Some(Self { upstream, recorded })
    }

    /// Carries bytes until both sides have ended, one has failed, or both are silent for too long.
    pub(super) async fn run(self, wire: Rc<Wire>) {
        let Self {
            upstream,
            mut recorded,
        } = self;
        let Some(wire) = Rc::into_inner(wire) else {
            return;
        };
        let (mut near, input, mut ticket) = wire.into_parts();
        let (mut far, output, _open) = upstream.into_parts();
        let (near, far) = ((&mut near, input), (&mut far, output));
        let (worker, standing) = recorded.take_standing();
        let refused = async {
            match standing {
                Some(standing) => standing.refused(&worker).await,
                None => pending().await,
            }
        };
        let terms = Terms {
            carrier: &worker.carrier,
            ticket: &mut ticket,
            limits: LIMITS,
        };
        let carried = carry(near, far, terms, refused, |_, _| {}).await;
        let Carried { up, down, ended } = carried;
        if let Err(Broken::Refused(_)) = &ended {
            recorded.refused_later();
        }
        if let Err(broken) = ended {
            tracing::debug!(
                error = &broken as &dyn std::error::Error,
                "tunnel broke off"
            );
        }
        recorded.tunnelled(up, down);
    }
}
