//! The status of HTTP that an answer of gRPC amounts to.

use http::{HeaderMap, StatusCode};

/// The status by which an answer to a call of gRPC counts: that of its `grpc-status`, if the head has
/// one already, else its own.
///
/// Statuses are translated as Envoy does, but for `UNIMPLEMENTED`: a caller that asks for what was
/// never there could take every endpoint out.
pub(crate) fn code_of(status: StatusCode, headers: &HeaderMap) -> u16 {
    let grpc = headers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok()?.parse::<u8>().ok());
    match grpc {
        None => status.as_u16(),
        Some(0) => 200,
        // CANCELLED: the client's doing.
        Some(1) => 499,
        // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE.
        Some(3 | 9 | 11) => 400,
        // DEADLINE_EXCEEDED.
        Some(4) => 504,
        // NOT_FOUND, UNIMPLEMENTED.
        Some(5 | 12) => 404,
        // ALREADY_EXISTS, ABORTED.
        Some(6 | 10) => 409,
        // PERMISSION_DENIED.
        Some(7) => 403,
        // RESOURCE_EXHAUSTED.
        Some(8) => 429,
        // UNAVAILABLE.
        Some(14) => 503,
        // UNAUTHENTICATED.
        Some(16) => 401,
        // UNKNOWN, INTERNAL, DATA_LOSS, and what has no meaning.
        Some(_) => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(status: u16, grpc: Option<&'static str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(grpc) = grpc {
            headers.insert("grpc-status", http::HeaderValue::from_static(grpc));
        }
        code_of(
            StatusCode::from_u16(status).expect("a legal status"),
            &headers,
        )
    }

    #[test]
    fn a_status_of_grpc_in_the_head_counts_as_its_like_of_http() {
        for (status, grpc, expected) in [
            (200, None, 200),
            (503, None, 503),
            (200, Some("0"), 200),
            (200, Some("13"), 500),
            (200, Some("14"), 503),
            (200, Some("4"), 504),
            (200, Some("2"), 500),
            (200, Some("7"), 403),
            (200, Some("99"), 500),
            // No server can help what is asked of it.
            (200, Some("12"), 404),
            (200, Some("1"), 499),
            (502, Some("not a number"), 502),
        ] {
            assert_eq!(code(status, grpc), expected, "{status} {grpc:?}");
        }
    }
}
