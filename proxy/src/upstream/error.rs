//! Why an attempt had no answer, and what follows from that: may it be repeated, whose fault is it.

use std::time::Duration;

use crate::table::retry::Ended;
use crate::telemetry::flags::Flags;
use crate::upstream::breaker::Overflow;
use crate::upstream::connect::{ConnectError, ConnectFault};
use crate::upstream::http1::ExchangeError;
use crate::upstream::http2::StreamFault;

/// Why an attempt produced no response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The destination has no endpoint.
    #[error("no healthy upstream")]
    NoEndpoint,
    /// Nothing was sent; another endpoint may be tried.
    #[error("connect to upstream")]
    Connect(#[source] ConnectError),
    /// The connection failed or closed before an answer.
    #[error("upstream connection failed")]
    Exchange {
        /// Whether nothing of the request can have been processed.
        unsent: bool,
        /// Whether the connection had served a request before, and failed soon after this one began.
        reused: bool,
        /// What happened.
        source: ExchangeError,
    },
    /// A limit of the destination is reached.
    #[error("limit of the destination reached: {0}")]
    Overflow(Overflow),
    /// All HTTP/2 connections are as busy as they may be.
    #[error("no room on the connections to upstream")]
    Full,
    /// An HTTP/2 stream failed.
    #[error("upstream stream failed")]
    Stream {
        /// How far the request had come.
        reached: Reached,
        /// Whether the connection had served before and then rested.
        rested: bool,
        /// Whose doing it was.
        fault: StreamFault,
        /// What happened.
        source: hyper::Error,
    },
    /// The rule asks for a reset of the attempt.
    #[error("upstream connection reset by an injected fault")]
    InjectedReset,
    /// The attempt's own time was over before an answer.
    #[error("upstream took longer than {0:?}")]
    TryTimeout(Duration),
}

/// How far a request had come when its HTTP/2 stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing of it went out.
    Nobody,
    /// The upstream said that it did not process it (RFC 9113 §8.7).
    Refused,
    /// It may have been processed.
    Upstream,
}

// === impl UpstreamError ===

impl UpstreamError {
    /// How the attempt ended, as far as a retry policy looks at it.
    pub fn ended(&self) -> Ended<'static> {
        match self {
            Self::NoEndpoint | Self::Overflow(_) => Ended::Final,
            Self::Connect(_) | Self::Full => Ended::NotConnected,
            Self::TryTimeout(_) => Ended::TimedOut,
            Self::InjectedReset => Ended::Reset,
            Self::Stream { reached, .. } => match reached {
                Reached::Nobody => Ended::Unsent,
                Reached::Refused => Ended::Refused,
                Reached::Upstream if self.closed_while_idle() => Ended::ClosedWhileIdle,
                Reached::Upstream => Ended::Reset,
            },
            Self::Exchange { unsent: true, .. } => Ended::Unsent,
            Self::Exchange { source, .. } => match source {
                ExchangeError::Downstream(_) => Ended::Final,
                _ if self.closed_while_idle() => Ended::ClosedWhileIdle,
                ExchangeError::Io { .. }
                | ExchangeError::Cut(_)
                | ExchangeError::Closed { .. }
                | ExchangeError::Head(_) => Ended::Reset,
            },
        }
    }

    /// Whether a connection that had served before was closed before any byte of an answer, and
    /// perhaps before any byte of the request went out.
    pub(crate) fn closed_while_idle(&self) -> bool {
        match self {
            Self::Exchange { reused, source, .. } => *reused && source.is_silent_end(),
            Self::Stream { rested, fault, .. } => *rested && fault.is_silent_end(),
            Self::NoEndpoint
            | Self::Overflow(_)
            | Self::Full
            | Self::Connect(_)
            | Self::InjectedReset
            | Self::TryTimeout(_) => false,
        }
    }

    /// Whether it speaks against the endpoint. What we refused ourselves, what the request's body
    /// caused, a connection that died of idleness and one that was ended in good order do not.
    pub(crate) fn blames_endpoint(&self) -> bool {
        match self {
            Self::NoEndpoint | Self::Overflow(_) | Self::Full => false,
            Self::Connect(error) => !error.is_ours(),
            // What is injected below the retries is there to see what follows.
            Self::TryTimeout(_) | Self::InjectedReset => true,
            Self::Exchange { source, .. } => match source {
                ExchangeError::Downstream(_) => false,
                ExchangeError::Io { .. }
                | ExchangeError::Cut(_)
                | ExchangeError::Closed { .. }
                | ExchangeError::Head(_) => !self.closed_while_idle(),
            },
            Self::Stream { fault, .. } => match fault {
                StreamFault::GoneAway => false,
                StreamFault::Refused
                | StreamFault::Reset
                | StreamFault::Closed
                | StreamFault::Unanswered
                | StreamFault::Protocol => !self.closed_while_idle(),
            },
        }
    }

    /// Why there is no connection, if that is the error.
    pub(crate) fn connect_fault(&self) -> Option<ConnectFault> {
        match self {
            Self::Connect(error) => Some(error.fault()),
            Self::NoEndpoint
            | Self::Overflow(_)
            | Self::Full
            | Self::InjectedReset
            | Self::TryTimeout(_)
            | Self::Exchange { .. }
            | Self::Stream { .. } => None,
        }
    }

    /// The response flag of a request that ends with this error.
    pub fn flag(&self) -> Flags {
        match self {
            Self::NoEndpoint => Flags::UH,
            Self::Connect(_) => Flags::UF,
            Self::Overflow(_) | Self::Full => Flags::UO,
            Self::TryTimeout(_) => Flags::UT,
            Self::InjectedReset => Flags::FI,
            Self::Stream { fault, .. } => match fault {
                StreamFault::Refused | StreamFault::GoneAway | StreamFault::Reset => Flags::UR,
                StreamFault::Closed | StreamFault::Unanswered => Flags::UC,
                StreamFault::Protocol => Flags::UPE,
            },
            Self::Exchange { source, .. } => match source {
                ExchangeError::Io { .. } | ExchangeError::Cut(_) | ExchangeError::Closed { .. } => {
                    Flags::UC
                }
                ExchangeError::Head(_) => Flags::UPE,
                ExchangeError::Downstream(_) => Flags::DC,
            },
        }
    }
}

impl From<Overflow> for UpstreamError {
    fn from(overflow: Overflow) -> Self {
        Self::Overflow(overflow)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_what_the_endpoint_did_speaks_against_it() {
        let exchange = |reused, source| UpstreamError::Exchange {
            unsent: false,
            reused,
            source,
        };
        let closed = || ExchangeError::Closed { answered: false };
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);

        for error in [
            UpstreamError::Connect(ConnectError::Io(refused)),
            UpstreamError::TryTimeout(Duration::from_secs(1)),
            UpstreamError::InjectedReset,
            exchange(false, closed()),
            exchange(true, ExchangeError::Closed { answered: true }),
        ] {
            assert!(error.blames_endpoint(), "{error:?}");
        }
        for error in [
            UpstreamError::NoEndpoint,
            UpstreamError::Full,
            UpstreamError::Overflow(Overflow::Requests),
            UpstreamError::Connect(ConnectError::Shared(ConnectFault::Other)),
            exchange(true, closed()),
            exchange(
                false,
                ExchangeError::Downstream(Box::new(crate::body::BodyError::Superseded)),
            ),
        ] {
            assert!(!error.blames_endpoint(), "{error:?}");
        }
    }
}
