//! Who may in: what the requests of a listener must satisfy before they are routed, in the order of
//! Istio: what an outside authorizer says (`CUSTOM`), who the request is from (tokens), what policies
//! say (`DENY`, then `ALLOW`).

pub mod authz;
pub mod jwt;

use std::sync::Arc;

use crate::request::{Downstream, Rejection};
use crate::snapshot::Current;
use crate::upstream::Outgoing;
use crate::worker::Worker;
use authz::Authorization;
use jwt::Authentication;

/// What requests of a listener must satisfy. At least one of the parts is there.
#[derive(Debug, Default)]
pub struct Admission {
    /// Which tokens prove who a request is from.
    pub authentication: Option<Arc<Authentication>>,
    /// Who may do what.
    pub authorization: Option<Arc<Authorization>>,
}

/// A request that wants in, and what it meets.
pub(crate) struct Arrival<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) snapshot: &'a Current,
    pub(crate) downstream: &'a Downstream,
}

// === impl Arrival ===

impl<'a> Arrival<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        snapshot: &'a Current,
        downstream: &'a Downstream,
    ) -> Self {
        Self {
            worker,
            snapshot,
            downstream,
        }
    }
}

// === impl Admission ===

impl Admission {
    /// Lets a request in, or says why not.
    pub(crate) async fn admit(
        &self,
        arrival: &Arrival<'_>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        if let Some(authorization) = &self.authorization {
            authorization.ask(arrival, outgoing).await?;
        }
        if let Some(authentication) = &self.authentication {
            authentication.authenticate(arrival, outgoing).await?;
        }
        if let Some(authorization) = &self.authorization {
            authorization.authorize(arrival, outgoing)?;
        }
        Ok(())
    }
}
