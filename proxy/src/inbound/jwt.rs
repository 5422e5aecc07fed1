//! Tokens of requests (JWT, RFC 7519).

mod token;

use crate::inbound::Arrival;
use crate::request::Rejection;
use crate::upstream::Outgoing;
pub use token::{Token, Values};

/// The rules for tokens of this proxy.
#[derive(Debug, Default)]
pub struct Authentication {}

impl Authentication {
    /// Finds out who a request is from.
    pub(crate) async fn authenticate(
        &self,
        _arrival: &Arrival<'_>,
        _outgoing: &mut Outgoing,
    ) -> Result<(), Rejection> {
        Ok(())
    }
}
