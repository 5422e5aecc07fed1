//! One request: its context, and why we answer it ourselves.

pub mod cors;
pub mod explain;
mod fault;
pub(crate) mod forward;
pub mod headers;
pub mod limits;
pub mod log;
pub mod malformed;
pub(crate) mod mirror;
pub mod path;
pub mod pipeline;
pub mod rate_limit;
pub mod record;
pub mod reply;
pub mod retry;
pub(crate) mod route;
pub mod server;
pub mod timeout;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use config::spiffe::SpiffeId;
use http::{HeaderValue, Request};
use hyper::body::{Body as _, Incoming};

use crate::body::Received;
use crate::drain::Ending;
use crate::inbound::authz::Denial;
use crate::inbound::authz::external::{Refusal, Undecided};
use crate::inbound::jwt::Unauthenticated;
use crate::message::interim::Interim;
use crate::message::spelling::Spelling;
use crate::request::malformed::Malformed;
use crate::request::rate_limit::Refused;
use crate::table::Bind;
use crate::table::fault::AbortStatus;
use crate::telemetry::flags::Flags;
use crate::telemetry::metrics::Proved;
use crate::tls::Security;
use crate::upstream::UpstreamError;
use crate::upstream::caller::Caller;
use crate::upstream::destination::Destination;
use timeout::Expired;

/// What is known of a downstream connection.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// The listener it came to.
    pub bind: Bind,
    /// Address of the caller; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Address that the caller reached; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Where it was going when it was captured; none if it was not.
    pub(crate) original: Option<SocketAddr>,
    /// What TLS says of it; `None` in plain text.
    pub(crate) security: Option<Security>,
    /// Whom the caller proved to be, for labels; `None` if nobody.
    pub(crate) proved: Option<Rc<Proved>>,
    /// Ends it once the request it is in has its answer; none where there is no connection.
    pub(crate) ending: Option<Ending>,
    /// What upstreams are told of it, made when the first of them is.
    caller: OnceCell<Rc<Caller>>,
    /// The caller's address as text, made when the first request needs it.
    peer_text: OnceCell<Option<HeaderValue>>,
}

/// A request as it came off a connection.
#[derive(Debug)]
pub struct Arrived {
    /// Method, target, headers and version.
    pub(crate) head: Box<http::request::Parts>,
    /// None where there is none.
    pub(crate) body: Option<Received>,
    /// How an HTTP/1 head was written.
    pub(crate) spelling: Option<Spelling>,
    /// Where interim answers go, if the client can take any.
    pub(crate) interim: Option<Rc<Interim>>,
    /// The protocol that the client wants to switch to, if we carry it.
    pub(crate) upgrade: Option<HeaderValue>,
}

// === impl Arrived ===

impl From<Request<Incoming>> for Arrived {
    fn from(request: Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head: Box::new(head),
            body: (!body.is_end_stream()).then_some(Received::Http2(body)),
            spelling: None,
            interim: None,
            upgrade: None,
        }
    }
}

// === impl Downstream ===

impl Downstream {
    /// A connection from `peer` to `local`. A socket of both families has addresses of IPv4 in a form of
    /// IPv6, which is nobody's address.
    pub fn new(bind: Bind, peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        Self {
            bind,
            peer: peer.map(canonical),
            local: local.map(canonical),
            original: None,
            security: None,
            proved: None,
            ending: None,
            caller: OnceCell::new(),
            peer_text: OnceCell::new(),
        }
    }

    /// The address that the caller asked for: where it was going when it was captured, else the one that
    /// it reached.
    pub(crate) fn addressed(&self) -> Option<SocketAddr> {
        self.original.or(self.local)
    }

    /// Whom the caller proved to be.
    pub(crate) fn principal(&self) -> Option<&SpiffeId> {
        self.security.as_ref()?.principal.as_ref()
    }

    /// Takes in what TLS says of the connection.
    pub(crate) fn secure(&mut self, security: Security) {
        let principal = security.principal.clone();
        self.proved = principal.map(|id| Rc::new(Proved::downstream(id)));
        self.security = Some(security);
    }

    /// The name that the caller asked for in TLS, empty if it named none; `None` in plain text.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.security.as_ref().map(|it| &*it.server_name)
    }

    /// Has the connection end once the request it is in has its answer.
    pub(crate) fn end_after_answer(&self) {
        if let Some(ending) = &self.ending {
            ending.tell();
        }
    }

    /// What a destination is told of it; none if it is told nothing.
    pub(crate) fn caller(&self, destination: &Destination) -> Option<&Rc<Caller>> {
        destination.policy.proxy_protocol?;
        let caller = self.caller.get_or_init(|| {
            let reached = self.original.or(self.local);
            Rc::new(Caller::new(self.peer.zip(reached)))
        });
        Some(caller)
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
    /// There is too little memory for new work.
    #[error("too little memory for new work")]
    Shed,
    /// The request is not HTTP as it may be, or came too slowly.
    #[error(transparent)]
    Malformed(Malformed),
    /// It came in plain text, and the policy has become that peers prove who they are.
    #[error("plain text where mutual TLS is asked for")]
    PlainText,
    /// Nobody serves the host.
    #[error("no route: unknown host")]
    UnknownHost,
    /// The host is served to clients who came to it by another connection.
    #[error("misdirected: the host is not served on this connection")]
    Misdirected,
    /// The outbound policy refuses unknown hosts.
    #[error("blocked: host is not in the registry")]
    Blocked,
    /// No rule of the host matches.
    #[error("no route: no rule matches")]
    NoRule,
    /// A token does not prove who it is from.
    #[error("{}", .0.refusal.text())]
    Unauthenticated(Box<Unauthenticated>),
    /// The rule asks for an error.
    #[error("fault filter abort")]
    FaultAbort(AbortStatus),
    /// The rule asks for a reset.
    #[error("fault: reset")]
    FaultReset,
    /// The rule's destination does not exist.
    #[error("cluster not found")]
    UnknownDestination,
    /// Policies do not let it pass.
    #[error("RBAC: access denied")]
    Denied(Box<Denial>),
    /// An authorizer does not let it pass.
    #[error("denied by authorizer {}", .0.provider)]
    DeniedOutside(Box<Refusal>),
    /// An authorizer did not say whether it may pass.
    #[error("authorizer {} does not decide", .0.provider)]
    AuthorizerFailed(Box<Undecided>),
    /// A limit lets no more requests pass for now.
    #[error("rate limited by {}", .0.limit)]
    RateLimited(Box<Refused>),
    /// The service that counts did not say whether it may pass.
    #[error("rate limit not decided")]
    LimitUndecided(Arc<str>),
    /// The route's time is over.
    #[error("upstream request timeout")]
    TimedOut,
    /// The time that the caller of gRPC had left is over.
    #[error("deadline of the caller exceeded")]
    DeadlineExceeded,
    /// More of the request was awaited, and nothing came for too long.
    #[error("request stream idle")]
    QuietRequest,
    /// The upstream was awaited, and nothing came for too long.
    #[error("upstream stream idle")]
    QuietUpstream,
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
            Self::BadRequest(_) => Flags::DPE,
            Self::Shed => Flags::OM,
            Self::Malformed(malformed) => malformed.flag(),
            Self::PlainText => Flags::UAEX,
            Self::UnknownHost | Self::Misdirected | Self::Blocked | Self::NoRule => Flags::NR,
            Self::FaultAbort(_) | Self::FaultReset => Flags::FI,
            Self::Unauthenticated(_) => Flags::UAEX,
            Self::UnknownDestination => Flags::NC,
            Self::Denied(_) | Self::DeniedOutside(_) | Self::AuthorizerFailed(_) => Flags::UAEX,
            Self::RateLimited(_) => Flags::RL,
            Self::LimitUndecided(_) => Flags::RLSE,
            Self::TimedOut | Self::DeadlineExceeded => Flags::UT,
            Self::QuietRequest | Self::QuietUpstream => Flags::SI,
            Self::Upstream(error) => error.flag(),
            Self::RetriesExhausted(error) => error.flag() | Flags::URX,
        }
    }

    /// Whether a limit of the destination, or of this proxy, refused it before anything was sent.
    pub(crate) fn is_overload(&self) -> bool {
        if let Self::Shed = self {
            return true;
        }
        let (Self::Upstream(error) | Self::RetriesExhausted(error)) = self else {
            return false;
        };
        matches!(error, UpstreamError::Overflow(_) | UpstreamError::Full)
    }
}

impl From<Expired> for Rejection {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Limit => Self::TimedOut,
            Expired::Caller => Self::DeadlineExceeded,
            Expired::QuietRequest => Self::QuietRequest,
            Expired::QuietUpstream => Self::QuietUpstream,
        }
    }
}
