//! Which headers that the proxy deals with a request has: one pass over the names instead of a search
//! for each, since most requests have none of them.

use http::HeaderMap;
use http::header;

/// Headers that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) te: bool,
    pub(super) forwarded_for: bool,
    pub(super) forwarded_proto: bool,
    pub(super) request_id: bool,
    /// What is said of the certificates of callers.
    pub(super) forwarded_client_cert: bool,
    /// The question what becomes of the request.
    pub(super) explain: bool,
    /// The word that the request is a copy.
    pub(super) mirrored: bool,
    /// One that tells a proxy what to do.
    pub(super) instruction: bool,
    /// One that may be taken for another of these, as it has `_` where they have `-`.
    pub(super) lookalike: bool,
}

// === impl Present ===

impl Present {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            if *name == header::TE {
                present.te = true;
                continue;
            }
            let Some(rest) = name.as_str().strip_prefix("x-") else {
                present.lookalike |= name.as_str().starts_with("x_");
                continue;
            };
            match rest {
                "forwarded-client-cert" => present.forwarded_client_cert = true,
                "forwarded-for" => present.forwarded_for = true,
                "forwarded-proto" => present.forwarded_proto = true,
                "request-id" => present.request_id = true,
                "meshproxy-explain" => present.explain = true,
                "mirrored" => present.mirrored = true,
                // It is not passed on by any upstream, and taking it out of a map that is in the order
                // of the lines would cost every request of a caller that is a proxy itself.
                "envoy-attempt-count" => {}
                rest => {
                    present.instruction |= rest.starts_with("envoy-");
                    present.lookalike |= rest.contains('_');
                }
            }
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn what_is_there_is_found_in_one_pass() {
        let mut headers = HeaderMap::new();
        assert_eq!(Present::of(&headers), Present::default());
        for name in [
            "accept",
            "te",
            "x-a",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-client-cert",
            "x-envoy-attempt-count",
            "x-envoy-max-retries",
            "x-meshproxy-explain",
            "x-mirrored",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }

        let all = Present {
            te: true,
            forwarded_for: true,
            forwarded_proto: true,
            forwarded_client_cert: true,
            request_id: true,
            explain: true,
            mirrored: true,
            instruction: true,
            lookalike: false,
        };
        assert_eq!(Present::of(&headers), all);
        for name in ["x_a", "x-a_b"] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            assert!(Present::of(&headers).lookalike, "{name}");
        }
    }
}
