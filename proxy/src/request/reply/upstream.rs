//! What clients and the log learn of an upstream that failed: one row for each cause, since the cure
//! is another for each. A connection that had rested and was closed asks for a shorter idle timeout
//! on our side; one that was reset, for a look at the upstream; a truncated answer, for neither.

use std::borrow::Cow;
use std::io;

use http::StatusCode;

use super::Cause;
use crate::body::BodyError;
use crate::telemetry::flags::Flags;
use crate::upstream::UpstreamError;
use crate::upstream::breaker::Overflow;
use crate::upstream::connect::ConnectFault;
use crate::upstream::http1::{ExchangeError, ReadError};
use crate::upstream::http2::StreamFault;

/// The reasons in the texts that clients of Envoy know.
const TERMINATED: &str = "connection termination";
const NOT_CONNECTED: &str = "remote connection failure";
const BROKEN_PROTOCOL: &str = "protocol error";

/// The cause of a failed attempt; `lead` says whether its reason is the only one there was.
pub(super) fn cause(error: &UpstreamError, lead: &'static str) -> Cause {
    let (status, reason, detail) = match error {
        UpstreamError::NoEndpoint => {
            return Cause {
                status: StatusCode::SERVICE_UNAVAILABLE,
                text: Cow::Borrowed("no healthy upstream"),
                detail: "no_healthy_upstream",
                grpc: None,
            };
        }
        UpstreamError::TryTimeout(_) => {
            return Cause {
                status: StatusCode::GATEWAY_TIMEOUT,
                text: Cow::Borrowed("upstream request timeout"),
                detail: "upstream_per_try_timeout",
                grpc: None,
            };
        }
        UpstreamError::Overflow(Overflow::Pending) => {
            unavailable("overflow", "upstream_pending_overflow")
        }
        UpstreamError::Overflow(Overflow::Requests) => {
            unavailable("overflow", "upstream_requests_overflow")
        }
        UpstreamError::InjectedReset => unavailable(TERMINATED, "fault_reset"),
        UpstreamError::Overflow(Overflow::Connections) => {
            unavailable("overflow", "upstream_connections_overflow")
        }
        UpstreamError::Full => unavailable("overflow", "upstream_streams_exhausted"),
        UpstreamError::Connect(error) => connect(error.fault()),
        UpstreamError::Stream { .. } | UpstreamError::Exchange { .. }
            if error.closed_while_idle() =>
        {
            unavailable(TERMINATED, "upstream_closed_while_idle")
        }
        UpstreamError::Stream { fault, .. } => stream(*fault),
        UpstreamError::Exchange { source, .. } => exchange(source),
    };
    let text = match reason {
        "" => Cow::Borrowed(""),
        _ => Cow::Owned(format!(
            "upstream connect error or disconnect/reset before headers. {lead}: {reason}"
        )),
    };
    Cause {
        status,
        text,
        detail,
        grpc: None,
    }
}

/// Flag and detail of an answer that broke off.
pub(crate) fn broken(error: &BodyError) -> (Flags, &'static str) {
    match error {
        BodyError::Upstream(error) => match error {
            ReadError::Io(error) if is_reset(error) => (Flags::UC, "upstream_reset_within_body"),
            ReadError::Io(_) => (Flags::UC, "upstream_connection_lost"),
            ReadError::Truncated => (Flags::UC, "upstream_body_truncated"),
            ReadError::Chunked(_) => (Flags::UPE, "upstream_body_invalid"),
        },
        BodyError::Incoming(error) => match StreamFault::of(error) {
            StreamFault::Refused | StreamFault::GoneAway | StreamFault::Reset => {
                (Flags::UR, "upstream_stream_reset_within_body")
            }
            StreamFault::Closed => (Flags::UC, "upstream_body_truncated"),
            StreamFault::Unanswered => (Flags::UC, "upstream_connection_lost"),
            StreamFault::Protocol => (Flags::UPE, "upstream_body_invalid"),
        },
        // No answer has a client's body; the request's failure is told elsewhere.
        BodyError::Client(_) | BodyError::Superseded | BodyError::Missed => {
            (Flags::DC, "downstream_body_error")
        }
    }
}

/// Status, reason for the text, and detail.
type Row = (StatusCode, &'static str, &'static str);

fn unavailable(reason: &'static str, detail: &'static str) -> Row {
    (StatusCode::SERVICE_UNAVAILABLE, reason, detail)
}

fn connect(fault: ConnectFault) -> Row {
    match fault {
        ConnectFault::Refused => unavailable(NOT_CONNECTED, "connect_refused"),
        ConnectFault::Unreachable => unavailable(NOT_CONNECTED, "connect_unreachable"),
        ConnectFault::TimedOut => unavailable("connection timeout", "connect_timeout"),
        ConnectFault::Handshake => unavailable(NOT_CONNECTED, "connect_no_http2"),
        ConnectFault::Tls(fault) => unavailable(NOT_CONNECTED, fault.detail()),
        ConnectFault::Shut => unavailable(NOT_CONNECTED, "connect_not_secured"),
        ConnectFault::Other => unavailable(NOT_CONNECTED, "connect_failure"),
    }
}

fn exchange(error: &ExchangeError) -> Row {
    match error {
        ExchangeError::Io { source, .. } if is_reset(source) => {
            unavailable(TERMINATED, "upstream_reset_before_response")
        }
        ExchangeError::Cut(source) if is_reset(source) => {
            unavailable(TERMINATED, "upstream_reset_within_head")
        }
        ExchangeError::Io { .. } | ExchangeError::Cut(_) => {
            unavailable(TERMINATED, "upstream_connection_lost")
        }
        ExchangeError::Closed { answered: false } => {
            unavailable(TERMINATED, "upstream_closed_before_response")
        }
        ExchangeError::Closed { answered: true } => {
            unavailable(TERMINATED, "upstream_closed_within_head")
        }
        ExchangeError::Head(_) => protocol(),
        // Not the upstream's doing, and nobody is left to read a text.
        ExchangeError::Downstream(_) => (StatusCode::BAD_REQUEST, "", "downstream_body_error"),
    }
}

fn stream(fault: StreamFault) -> Row {
    match fault {
        StreamFault::Refused => {
            unavailable("remote refused stream reset", "upstream_stream_refused")
        }
        StreamFault::GoneAway => unavailable("remote refused stream reset", "upstream_went_away"),
        StreamFault::Reset => unavailable("remote reset", "upstream_stream_reset"),
        StreamFault::Closed => unavailable(TERMINATED, "upstream_closed_before_response"),
        StreamFault::Unanswered => unavailable(TERMINATED, "upstream_connection_lost"),
        StreamFault::Protocol => protocol(),
    }
}

fn protocol() -> Row {
    (
        StatusCode::BAD_GATEWAY,
        BROKEN_PROTOCOL,
        "upstream_protocol_error",
    )
}

/// Whether the upstream, or its system, ended the connection, and not the network.
fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tls::client::{Shut, TlsError};
    use crate::upstream::connect::ConnectError;
    use crate::upstream::http1::HeadError;

    fn exchange(reused: bool, source: ExchangeError) -> UpstreamError {
        UpstreamError::Exchange {
            unsent: false,
            reused,
            source,
        }
    }

    fn unable(kind: io::ErrorKind) -> UpstreamError {
        UpstreamError::Connect(ConnectError::Io(kind.into()))
    }

    fn lost(kind: io::ErrorKind) -> ExchangeError {
        ExchangeError::Io {
            unsent: false,
            source: kind.into(),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn each_cause_has_a_detail_of_its_own_and_a_flag() {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };

        let before = |answered| ExchangeError::Closed { answered };
        let expired = rustls::Error::from(rustls::CertificateError::Expired);
        let rows = [
            (unable(ConnectionRefused), Flags::UF, "connect_refused"),
            (unable(HostUnreachable), Flags::UF, "connect_unreachable"),
            (unable(TimedOut), Flags::UF, "connect_timeout"),
            (
                unable(io::ErrorKind::PermissionDenied),
                Flags::UF,
                "connect_failure",
            ),
            (
                UpstreamError::Connect(ConnectError::Handshake(None)),
                Flags::UF,
                "connect_no_http2",
            ),
            (
                UpstreamError::Connect(ConnectError::Shut(Shut::Identity)),
                Flags::UF,
                "connect_not_secured",
            ),
            (
                UpstreamError::Connect(ConnectError::Tls(TlsError::from(expired))),
                Flags::UF,
                "connect_certificate_expired",
            ),
            (
                exchange(true, lost(ConnectionReset)),
                Flags::UC,
                "upstream_closed_while_idle",
            ),
            (
                exchange(false, lost(ConnectionReset)),
                Flags::UC,
                "upstream_reset_before_response",
            ),
            (
                exchange(false, before(false)),
                Flags::UC,
                "upstream_closed_before_response",
            ),
            (
                exchange(true, ExchangeError::Cut(ConnectionReset.into())),
                Flags::UC,
                "upstream_reset_within_head",
            ),
            (
                exchange(true, before(true)),
                Flags::UC,
                "upstream_closed_within_head",
            ),
            (
                exchange(false, lost(NetworkUnreachable)),
                Flags::UC,
                "upstream_connection_lost",
            ),
            (
                exchange(true, ExchangeError::Head(HeadError::Framing)),
                Flags::UPE,
                "upstream_protocol_error",
            ),
            (UpstreamError::InjectedReset, Flags::FI, "fault_reset"),
            (UpstreamError::Full, Flags::UO, "upstream_streams_exhausted"),
            (UpstreamError::NoEndpoint, Flags::UH, "no_healthy_upstream"),
        ];
        let count = rows.len();

        let mut details = BTreeSet::new();
        for (error, flag, detail) in rows {
            assert_eq!(cause(&error, "reset reason").detail, detail);
            assert_eq!(error.flag(), flag, "{detail}");
            details.insert(detail);
        }

        assert_eq!(details.len(), count);
    }
}
