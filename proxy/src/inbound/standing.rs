//! What outlives the policies that let it in: connections that are not HTTP, and those that switched
//! protocols. They are judged again by each generation that brings other policies.
//!
//! Authorizers are not asked again, and tokens are not read again: they spoke of the moment.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::Admission;
use super::authz::Denial;
use super::authz::facts::Request;
use super::jwt::Token;
use crate::request::Downstream;
use crate::snapshot::Current;
use crate::table::{Direction, Listener};
use crate::upstream::Outgoing;
use crate::worker::Worker;

/// A request that was let in and has opened a tunnel.
#[derive(Debug)]
pub(crate) struct Standing {
    downstream: Downstream,
    direction: Direction,
    method: Method,
    target: Box<str>,
    authority: HeaderValue,
    headers: HeaderMap,
    token: Option<Box<Token>>,
    judged: Option<Arc<Admission>>,
}

/// What the listener of a connection asks for by a generation; none if all may in.
pub(crate) fn admission(snapshot: &Current, downstream: &Downstream) -> Option<Arc<Admission>> {
    let listener = snapshot.table.listener_of(downstream)?;
    listener.admission.clone()
}

/// Waits for a generation whose policies refuse a connection that is not HTTP and that `judged` let
/// in.
pub(crate) async fn connection_refused(
    worker: &Worker,
    downstream: &Downstream,
    judged: Option<Arc<Admission>>,
) -> Denial {
    let judge = |admission: &Admission| admission.tolerates(downstream);
    until_refused(worker, downstream, judged, judge).await
}

async fn until_refused(
    worker: &Worker,
    downstream: &Downstream,
    mut judged: Option<Arc<Admission>>,
    judge: impl Fn(&Admission) -> Result<(), Denial>,
) -> Denial {
    loop {
        // Before the look, so that no generation comes in between.
        let renewed = worker.renewed();
        let newest = admission(&worker.snapshot(), downstream);
        let is_same = judged.as_ref().map(Arc::as_ptr) == newest.as_ref().map(Arc::as_ptr);
        if let Some(newest) = newest.as_deref().filter(|_| !is_same)
            && let Err(denial) = judge(newest)
        {
            return denial;
        }
        judged = newest;
        renewed.await;
    }
}

// === impl Standing ===

impl Standing {
    /// What stands of a request that a listener let in and that may open a tunnel; none if it cannot,
    /// or if nobody asks who may use the listener, now or later.
    pub(crate) fn of_tunnel(
        listener: &Listener,
        downstream: &Downstream,
        outgoing: &mut Outgoing,
    ) -> Option<Box<Self>> {
        if !outgoing.may_open_tunnel() || listener.direction == Direction::Outbound {
            return None;
        }
        // What later policies may look at is in its place.
        outgoing.settle_headers();
        Some(Box::new(Self {
            downstream: downstream.clone(),
            direction: listener.direction,
            method: outgoing.head.method.clone(),
            target: outgoing.target().into(),
            authority: outgoing.authority.clone(),
            headers: outgoing.head.headers.clone(),
            token: outgoing.token.clone(),
            judged: listener.admission.clone(),
        }))
    }

    /// Waits for a generation whose policies refuse the request.
    pub(crate) async fn refused(&self, worker: &Worker) -> Denial {
        let judge = |admission: &Admission| match &admission.authorization {
            Some(authorization) => {
                authorization.tolerates_request(&self.downstream, self.direction, self.request())
            }
            None => Ok(()),
        };
        until_refused(worker, &self.downstream, self.judged.clone(), judge).await
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: self.method.as_str(),
            target: &self.target,
            authority: self.authority.to_str().unwrap_or_default(),
            secure: self.downstream.security.is_some(),
            headers: &self.headers,
            token: self.token.as_deref(),
        }
    }
}
