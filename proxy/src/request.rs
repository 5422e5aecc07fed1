//! One request: its context, and why we answer it ourselves.

pub mod cors;
mod forward;
pub mod headers;
pub mod log;
pub mod path;
pub mod pipeline;
pub mod record;
pub mod reply;
pub mod retry;
mod route;
pub mod server;
pub mod timeout;

use std::cell::OnceCell;
use std::net::SocketAddr;

use http::HeaderValue;

use crate::table::Bind;
use crate::telemetry::flags::Flags;
use crate::upstream::UpstreamError;

/// What is known of a downstream connection.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// The listener it came to.
    pub bind: Bind,
    /// Address of the caller; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Address that the caller reached; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The caller's address as text, made when the first request needs it.
    peer_text: OnceCell<Option<HeaderValue>>,
}

// === impl Downstream ===

impl Downstream {
    /// A connection from `peer` to `local`.
    pub fn new(bind: Bind, peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        Self {
            bind,
            peer,
            local,
            peer_text: OnceCell::new(),
        }
    }

    /// The caller's IP address as the value of a header.
    pub(crate) fn peer_text(&self) -> Option<&HeaderValue> {
        let text = || HeaderValue::try_from(self.peer?.ip().to_canonical().to_string()).ok();
        self.peer_text.get_or_init(text).as_ref()
    }
}

/// Why a request is answered by the proxy itself.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The request cannot be understood as HTTP.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request asks for something of HTTP that the proxy does not do.
    #[error("{0}")]
    Unimplemented(&'static str),
    /// Nobody serves the host.
    #[error("no route: unknown host")]
    UnknownHost,
    /// The outbound policy refuses unknown hosts.
    #[error("blocked: host is not in the registry")]
    Blocked,
    /// No rule of the host matches.
    #[error("no route: no rule matches")]
    NoRule,
    /// The rule's destination does not exist.
    #[error("cluster not found")]
    UnknownDestination,
    /// The route's time is over.
    #[error("upstream request timeout")]
    TimedOut,
    /// No attempt had an answer.
    #[error(transparent)]
    Upstream(UpstreamError),
    /// As many retries failed as the policy allows.
    #[error(transparent)]
    RetriesExhausted(UpstreamError),
}

// === impl Rejection ===

impl Rejection {
    /// The response flags that name the cause.
    pub fn flags(&self) -> Flags {
        match self {
            Self::BadRequest(_) | Self::Unimplemented(_) => Flags::DPE,
            Self::UnknownHost | Self::Blocked | Self::NoRule => Flags::NR,
            Self::UnknownDestination => Flags::NC,
            Self::TimedOut => Flags::UT,
            Self::Upstream(error) => error.flag(),
            Self::RetriesExhausted(error) => error.flag() | Flags::URX,
        }
    }
}
