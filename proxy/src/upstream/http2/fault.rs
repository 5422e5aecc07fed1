//! What a failed HTTP/2 stream says: whose doing it was, and whether the request was processed.

use std::error::Error as _;

/// How a stream ended without an answer, or within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFault {
    /// The upstream refused it unprocessed (RFC 9113 §8.7).
    Refused,
    /// The upstream ends the connection and did not get to it (RFC 9113 §6.8).
    GoneAway,
    /// The upstream reset it, and may have processed it.
    Reset,
    /// The connection ended.
    Closed,
    /// A PING of ours was not answered in time, which ended the connection.
    Unanswered,
    /// The upstream broke the protocol.
    Protocol,
}

// === impl StreamFault ===

impl StreamFault {
    pub(crate) fn of(error: &hyper::Error) -> Self {
        if error.is_timeout() {
            return Self::Unanswered;
        }
        let mut cause = error.source();
        while let Some(source) = cause {
            if let Some(h2) = source.downcast_ref::<h2::Error>() {
                return Self::of_h2(h2);
            }
            cause = source.source();
        }
        // The library had closed the connection before it took the request.
        Self::Closed
    }

    fn of_h2(error: &h2::Error) -> Self {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        match error.is_remote() {
            true if error.is_go_away() => Self::GoneAway,
            true if refused => Self::Refused,
            true => Self::Reset,
            false if error.is_io() => Self::Closed,
            false => Self::Protocol,
        }
    }

    /// Whether the request provably was not processed. The library gives a stream the error of a
    /// GOAWAY only if its number is above the last one that the upstream looked at, whatever the
    /// reason for the GOAWAY is.
    pub(crate) fn is_unprocessed(self) -> bool {
        match self {
            Self::Refused | Self::GoneAway => true,
            Self::Reset | Self::Closed | Self::Unanswered | Self::Protocol => false,
        }
    }

    /// Whether the connection died without a word.
    pub(crate) fn is_silent_end(self) -> bool {
        match self {
            Self::Closed | Self::Unanswered => true,
            Self::Refused | Self::GoneAway | Self::Reset | Self::Protocol => false,
        }
    }
}
