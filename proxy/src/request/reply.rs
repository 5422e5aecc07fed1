//! The answers that the proxy makes itself: one table from cause to status, text and detail.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::body::Body;
use crate::request::Rejection;
use crate::upstream::UpstreamError;
use crate::upstream::connect::ConnectError;
use crate::upstream::http1::ExchangeError;

/// Header that carries the cause of an answer of our own.
const X_ERROR: &str = "x-meshproxy-error";

/// What a client and the log learn of a cause.
struct Cause {
    status: StatusCode,
    /// Body; the texts are those that clients of Envoy know.
    text: &'static str,
    /// Value of `x-meshproxy-error` and of the log's response code details. Constant, so that no
    /// address of the mesh leaks.
    detail: &'static str,
}

/// The answer to a request that was rejected.
pub(crate) fn reject(rejection: &Rejection, request: &HeaderMap) -> Response<Body> {
    let Cause {
        status,
        text,
        detail,
    } = cause(rejection);
    let mut response = if is_grpc(request) {
        grpc(status, text)
    } else {
        let mut response = Response::new(Body::full(bytes::Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        if !text.is_empty() {
            let plain = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
        }
        response
    };
    response
        .headers_mut()
        .insert(X_ERROR, HeaderValue::from_static(detail));
    response
}

/// The detail of a cause, for the access log.
pub(crate) fn detail(rejection: &Rejection) -> &'static str {
    cause(rejection).detail
}

fn cause(rejection: &Rejection) -> Cause {
    let of = |status, text, detail| Cause {
        status,
        text,
        detail,
    };
    match rejection {
        Rejection::BadRequest(_) => of(StatusCode::BAD_REQUEST, "bad request", "bad_request"),
        Rejection::UnknownHost => of(StatusCode::NOT_FOUND, "", "unknown_host"),
        Rejection::Blocked => of(StatusCode::BAD_GATEWAY, "", "host_not_in_registry"),
        Rejection::NoRule => of(StatusCode::NOT_FOUND, "", "route_not_found"),
        Rejection::UnknownDestination => {
            of(StatusCode::SERVICE_UNAVAILABLE, "", "cluster_not_found")
        }
        Rejection::TimedOut => of(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout",
            "response_timeout",
        ),
        Rejection::Upstream(error) | Rejection::RetriesExhausted(error) => upstream(error),
    }
}

fn upstream(error: &UpstreamError) -> Cause {
    const RESET: &str = "upstream connect error or disconnect/reset before headers";
    let of = |status, text, detail| Cause {
        status,
        text,
        detail,
    };
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        UpstreamError::NoEndpoint => of(unavailable, "no healthy upstream", "no_healthy_upstream"),
        UpstreamError::Connect(ConnectError::Io(_)) => of(unavailable, RESET, "connect_failure"),
        UpstreamError::Connect(ConnectError::Timeout(_)) => {
            of(unavailable, RESET, "connect_timeout")
        }
        UpstreamError::Stream { .. } => of(unavailable, RESET, "upstream_stream_reset"),
        UpstreamError::Exchange { source, .. } => match source {
            ExchangeError::Io { .. } | ExchangeError::Closed { .. } => {
                of(unavailable, RESET, "upstream_reset_before_response")
            }
            ExchangeError::Head(_) => of(
                StatusCode::BAD_GATEWAY,
                "upstream protocol error",
                "upstream_protocol_error",
            ),
            ExchangeError::Downstream(_) => of(
                StatusCode::BAD_REQUEST,
                "bad request",
                "downstream_body_error",
            ),
        },
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
fn grpc(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from(grpc_status(status)));
    if !text.is_empty() {
        headers.insert("grpc-message", HeaderValue::from_static(text));
    }
    response
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
    use super::*;

    #[test]
    fn a_grpc_caller_gets_a_grpc_status() {
        let mut request = HeaderMap::new();
        request.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc+proto"),
        );

        for (rejection, status) in [
            (Rejection::NoRule, "12"),
            (Rejection::TimedOut, "14"),
            (Rejection::Upstream(UpstreamError::NoEndpoint), "14"),
        ] {
            let response = reject(&rejection, &request);

            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["grpc-status"], status);
        }
    }

    #[test]
    fn others_get_a_status_and_the_cause() {
        let response = reject(
            &Rejection::Upstream(UpstreamError::NoEndpoint),
            &HeaderMap::new(),
        );

        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[X_ERROR], "no_healthy_upstream");
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
