//! The answers that the proxy makes itself: one table from cause to status, text and detail.

mod upstream;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::body::Body;
use crate::request::Rejection;
use crate::request::fault;
use crate::request::record::Record;
use crate::table::fault::AbortStatus;
use crate::table::route::DirectResponse;
use crate::upstream::UpstreamError;
use crate::worker;
pub(crate) use upstream::broken;

/// What somebody learns who is not let in, whatever the reason.
const DENIED: &str = "RBAC: access denied";
/// Header that carries the cause of an answer of our own.
const X_ERROR: HeaderName = HeaderName::from_static("x-meshproxy-error");
/// Tells clients of Envoy that a limit was reached and nothing was sent.
const X_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
/// Text of a gRPC status.
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a client and the log learn of a cause.
struct Cause {
    status: StatusCode,
    /// Body; the texts are those that clients of Envoy know.
    text: Cow<'static, str>,
    /// Value of `x-meshproxy-error` and of the log's response code details. Constant, so that no
    /// address of the mesh leaks.
    detail: &'static str,
    /// The gRPC status where it is not that of the HTTP status.
    grpc: Option<u16>,
}

/// The gRPC status `DEADLINE_EXCEEDED`: what its clients make of it themselves at that time.
const DEADLINE_EXCEEDED: u16 = 4;

/// The gRPC status `RESOURCE_EXHAUSTED`.
const RESOURCE_EXHAUSTED: u16 = 8;

// === impl Cause ===

impl Cause {
    /// The answer to a caller who speaks gRPC or does not.
    fn answer(self, grpc: bool) -> Response<Body> {
        let text = match self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let mut response = match grpc {
            true => {
                let status = self.grpc.unwrap_or_else(|| grpc_status(self.status));
                grpc_answer(status, &text)
            }
            false => answer(self.status, text, false),
        };
        let detail = HeaderValue::from_static(self.detail);
        response.headers_mut().insert(X_ERROR, detail);
        response
    }
}

/// The answer to a request that was rejected; the record learns why.
pub(crate) fn reject(rejection: &Rejection, record: &mut Record) -> Response<Body> {
    let cause = cause(rejection);
    record.flags |= rejection.flags();
    if let Rejection::Malformed(malformed) = rejection {
        record.malformed(*malformed);
    }
    if let Some(log) = &mut record.log {
        log.rejected(cause.detail, rejection);
    }
    if let Rejection::FaultReset = rejection {
        return Response::new(Body::Reset);
    }
    let mut response = cause.answer(record.is_grpc());
    challenge(rejection, &mut response);
    if rejection.is_overload() {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(X_OVERLOADED, yes);
    }
    if let Rejection::RateLimited(refused) = rejection {
        refused.add_to(response.headers_mut());
    }
    if let Rejection::DeniedOutside(refusal) = rejection {
        refusal.add_to(&mut response, record.is_grpc());
    }
    response
}

/// The same answer where there is nothing to record.
pub(crate) fn rejected(rejection: &Rejection, grpc: bool) -> Response<Body> {
    let mut response = cause(rejection).answer(grpc);
    challenge(rejection, &mut response);
    response
}

/// Says what a client whose token is refused can do about it.
fn challenge(rejection: &Rejection, response: &mut Response<Body>) {
    if let Rejection::Unauthenticated(refused) = rejection {
        let challenge = refused.challenge.iter().cloned();
        let headers = response.headers_mut();
        headers.extend(challenge.map(|it| (header::WWW_AUTHENTICATE, it)));
    }
}

/// An injected error.
pub(crate) fn aborted(status: AbortStatus, grpc: bool) -> Response<Body> {
    abort(status).answer(grpc)
}

fn abort(status: AbortStatus) -> Cause {
    Cause {
        status: status.http,
        text: Cow::Borrowed("fault filter abort"),
        detail: fault::ABORT,
        grpc: status.grpc,
    }
}

/// The fixed response of a rule.
pub(crate) fn direct(direct: &DirectResponse, grpc: bool) -> Response<Body> {
    answer(direct.status, direct.body.clone(), grpc)
}

/// A redirect.
pub(crate) fn redirected(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A response in the form that the caller expects.
fn answer(status: StatusCode, text: Bytes, grpc: bool) -> Response<Body> {
    if grpc {
        return grpc_answer(grpc_status(status), &text);
    }
    let typed = !text.is_empty();
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    if typed {
        let plain = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
    }
    response
}

/// The cause of a rejection as the log knows it.
pub(crate) fn detail(rejection: &Rejection) -> &'static str {
    cause(rejection).detail
}

/// The cause of a failed attempt, as that of a request with no other.
pub(crate) fn attempt_detail(error: &UpstreamError) -> &'static str {
    upstream::cause(error, "").detail
}

/// What an authorizer said, if it is text.
fn text_of(body: &[u8]) -> Cow<'static, str> {
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Owned(text.to_owned()),
        Err(_) => Cow::Borrowed(""),
    }
}

fn cause(rejection: &Rejection) -> Cause {
    let of = |status, text, detail| Cause {
        status,
        text: Cow::Borrowed(text),
        detail,
        grpc: None,
    };
    let unavailable = |text, detail| of(StatusCode::SERVICE_UNAVAILABLE, text, detail);
    match rejection {
        Rejection::BadRequest(_) => of(StatusCode::BAD_REQUEST, "", "bad_request"),
        Rejection::Shed => unavailable("overloaded", worker::MEMORY),
        Rejection::Malformed(malformed) => of(malformed.status(), "", malformed.detail()),
        Rejection::PlainText => of(StatusCode::FORBIDDEN, DENIED, "mutual_tls_required"),
        Rejection::UnknownHost => of(StatusCode::NOT_FOUND, "", "unknown_host"),
        Rejection::Misdirected => of(StatusCode::MISDIRECTED_REQUEST, "", "misdirected_request"),
        Rejection::Blocked => of(StatusCode::BAD_GATEWAY, "", "host_not_in_registry"),
        Rejection::NoRule => of(StatusCode::NOT_FOUND, "", "route_not_found"),
        Rejection::Unauthenticated(refused) => {
            let refusal = refused.refusal;
            of(refusal.status(), refusal.text(), refusal.detail())
        }
        Rejection::FaultAbort(status) => abort(*status),
        // Nobody gets this status.
        Rejection::FaultReset => unavailable("", "fault_reset"),
        Rejection::UnknownDestination => unavailable("", "cluster_not_found"),
        Rejection::Denied(_) => of(StatusCode::FORBIDDEN, DENIED, "rbac_access_denied"),
        Rejection::DeniedOutside(refusal) => Cause {
            text: text_of(&refusal.body),
            ..of(refusal.status, "", "ext_authz_denied")
        },
        Rejection::AuthorizerFailed(undecided) => of(undecided.status, "", "ext_authz_error"),
        Rejection::RateLimited(_) => Cause {
            grpc: Some(RESOURCE_EXHAUSTED),
            ..of(
                StatusCode::TOO_MANY_REQUESTS,
                "rate limited",
                "rate_limited",
            )
        },
        Rejection::LimitUndecided(_) => {
            unavailable("rate limit not decided", "rate_limit_undecided")
        }
        Rejection::TimedOut => of(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout",
            "response_timeout",
        ),
        Rejection::DeadlineExceeded => Cause {
            grpc: Some(DEADLINE_EXCEEDED),
            ..of(
                StatusCode::GATEWAY_TIMEOUT,
                "deadline exceeded",
                "deadline_exceeded",
            )
        },
        Rejection::QuietRequest => of(
            StatusCode::REQUEST_TIMEOUT,
            "stream timeout",
            "request_idle_timeout",
        ),
        Rejection::QuietUpstream => of(
            StatusCode::GATEWAY_TIMEOUT,
            "stream timeout",
            "stream_idle_timeout",
        ),
        Rejection::Upstream(error) => upstream::cause(error, "reset reason"),
        Rejection::RetriesExhausted(error) => {
            upstream::cause(error, "retried and the latest reset reason")
        }
    }
}

/// Whether the caller speaks gRPC and so expects a gRPC status.
pub(crate) fn is_grpc(request: &HeaderMap) -> bool {
    let content_type = request.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A trailers-only answer (gRPC over HTTP/2, "Responses").
fn grpc_answer(status: u16, text: &[u8]) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from(status));
    headers.extend(grpc_message(text).map(|text| (GRPC_MESSAGE, text)));
    response
}

/// The text as `grpc-message`: percent-encoded where it is not printable ASCII (gRPC over HTTP/2,
/// "Status-Message"); none if it is empty.
fn grpc_message(text: &[u8]) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::from_str(&encoded).ok()
}

/// gRPC's own mapping of HTTP statuses ("HTTP to gRPC Status Code Mapping").
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inbound::authz::Denial;
    use crate::inbound::authz::policy::{Matched, PolicyId};
    use crate::upstream::connect::ConnectError;

    #[test]
    fn a_grpc_caller_gets_a_grpc_status() {
        for (rejection, expected) in [
            (Rejection::NoRule, "12"),
            (Rejection::TimedOut, "14"),
            (Rejection::DeadlineExceeded, "4"),
            (Rejection::LimitUndecided("default/p".into()), "14"),
            (Rejection::Upstream(UpstreamError::NoEndpoint), "14"),
        ] {
            let cause = cause(&rejection);

            let status = cause.grpc.unwrap_or_else(|| grpc_status(cause.status));
            let response = grpc_answer(status, cause.text.as_bytes());

            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], expected);
        }
    }

    #[test]
    fn who_is_denied_learns_nothing_but_that() {
        let denial = Denial::Matched(Matched {
            policy: Arc::new(PolicyId {
                namespace: "secret".into(),
                name: "name".into(),
            }),
            rule: 3,
        });
        let rejection = Rejection::Denied(Box::new(denial));

        let (head, body) = rejected(&rejection, false).into_parts();
        let grpc = rejected(&rejection, true);

        assert_eq!(head.status, StatusCode::FORBIDDEN);
        let names: Vec<&str> = head.headers.keys().map(|it| it.as_str()).collect();
        assert_eq!(names, ["content-type", "x-meshproxy-error"]);
        assert_eq!(head.headers[X_ERROR], "rbac_access_denied");
        let Body::Full(body) = body else {
            panic!("a body");
        };
        assert_eq!(body, "RBAC: access denied");
        assert_eq!(grpc.headers()["grpc-status"], "7");
        assert_eq!(grpc.headers()[GRPC_MESSAGE], "RBAC: access denied");
    }

    #[test]
    fn others_get_a_status_and_a_text() {
        let direct_response = DirectResponse {
            status: StatusCode::NOT_FOUND,
            body: Bytes::from_static(b"nope"),
        };

        let response = direct(&direct_response, false);

        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
        assert_eq!(
            direct(&direct_response, true).headers()["grpc-message"],
            "nope"
        );
    }

    #[test]
    fn a_grpc_message_is_printable() {
        let message = grpc_message("50% \u{e4}".as_bytes()).expect("a message");

        assert_eq!(message, "50%25 %C3%A4");
    }

    #[test]
    fn the_text_tells_a_first_failure_from_the_last_of_several() {
        let refused = || {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            UpstreamError::Connect(ConnectError::Io(refused))
        };
        let text = |rejection| cause(&rejection).text;

        assert_eq!(
            text(Rejection::Upstream(refused())),
            "upstream connect error or disconnect/reset before headers. \
             reset reason: remote connection failure"
        );
        assert_eq!(
            text(Rejection::RetriesExhausted(refused())),
            "upstream connect error or disconnect/reset before headers. \
             retried and the latest reset reason: remote connection failure"
        );
    }

    #[test]
    fn only_grpc_content_types_count() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_grpc(&headers)
        };

        assert!(with("application/grpc") && with("application/grpc+json"));
        assert!(!with("application/grpc-web") && !with("application/json"));
    }
}
