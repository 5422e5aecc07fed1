//! Who may in: what the requests of a listener must satisfy before they are routed, in the order of
//! Istio: what an outside authorizer says (`CUSTOM`), who the request is from (tokens), what policies
//! say (`DENY`, then `ALLOW`).

pub mod authz;
pub mod jwt;
pub(crate) mod standing;

use std::cell::RefCell;
use std::sync::Arc;

use http::HeaderValue;
use http::header::HeaderName;

use crate::request::{Downstream, Rejection};
use crate::snapshot::Current;
use crate::table::Direction;
use crate::upstream::Outgoing;
use crate::worker::Worker;
use authz::{Authorization, Denial, Notes};
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
    pub(crate) direction: Direction,
    /// What policies say of it, if somebody wants to know.
    pub(crate) notes: RefCell<Option<Box<Notes>>>,
    /// Headers that its answer gets because an authorizer says so.
    pub(crate) answer_headers: RefCell<Vec<(HeaderName, HeaderValue)>>,
}

// === impl Arrival ===

impl<'a> Arrival<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        snapshot: &'a Current,
        downstream: &'a Downstream,
        direction: Direction,
    ) -> Self {
        Self {
            worker,
            snapshot,
            downstream,
            direction,
            notes: RefCell::default(),
            answer_headers: RefCell::default(),
        }
    }
}

// === impl Admission ===

impl Admission {
    /// Lets a connection in that is not HTTP, or says why not.
    ///
    /// # Errors
    ///
    /// Which policy refuses it. The caller gets nothing but its connection closed.
    pub fn admit_connection(&self, downstream: &Downstream) -> Result<(), Denial> {
        match &self.authorization {
            Some(authorization) => authorization.authorize_connection(downstream),
            None => Ok(()),
        }
    }

    /// Whether a connection that is open and not HTTP may stay so, by a generation that came
    /// meanwhile. Requests need no such thing: each is judged by the generation that it finds.
    ///
    /// # Errors
    ///
    /// As those of `admit_connection`.
    pub fn tolerates(&self, downstream: &Downstream) -> Result<(), Denial> {
        match &self.authorization {
            Some(authorization) => authorization.tolerates(downstream),
            None => Ok(()),
        }
    }

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
            authentication.authenticate(arrival, outgoing)?;
        }
        if let Some(authorization) = &self.authorization {
            authorization.authorize(arrival, outgoing)?;
        }
        Ok(())
    }
}
