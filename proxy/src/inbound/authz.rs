//! What `AuthorizationPolicy` resources say of requests and connections.

use crate::inbound::Arrival;
use crate::request::{Downstream, Rejection};
use crate::upstream::Outgoing;

/// The policies of this proxy.
#[derive(Debug, Default)]
pub struct Authorization {}

/// Which policy refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {}

impl Authorization {
    /// Asks outside authorizers about a request, where policies say so.
    pub(crate) async fn ask(
        &self,
        _arrival: &Arrival<'_>,
        _outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        Ok(())
    }

    /// Lets a request pass by its policies.
    pub(crate) fn authorize(
        &self,
        _arrival: &Arrival<'_>,
        _outgoing: &Outgoing,
    ) -> Result<(), Rejection> {
        Ok(())
    }

    /// Lets a connection pass that is not HTTP.
    pub(crate) fn authorize_connection(&self, _downstream: &Downstream) -> Result<(), Denial> {
        Ok(())
    }
}
