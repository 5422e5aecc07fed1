//! The headers of a request as an HTTP/2 upstream gets them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::request::headers::{X_ATTEMPT_COUNT, passes};

/// Headers whose value never comes twice. HPACK is told not to index them (RFC 7541 §7.1.3): they
/// push everything else out of its table, and the encoder compares a value with all values that
/// the table has for the name.
static NEW_IN_EVERY_REQUEST: [HeaderName; 2] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
];

/// A copy of `headers` for one attempt, without what is not passed on.
///
/// The map is copied as a whole, which hashes no name again: hardly ever does a header have to go.
pub(crate) fn of_attempt(headers: &HeaderMap, attempt: u32) -> HeaderMap {
    let mut copy = headers.clone();
    copy.remove(header::HOST);
    if !copy.iter().all(|(name, value)| passes(name, value)) {
        let stays = headers.iter().filter(|(name, value)| !passes(name, value));
        for (name, _) in stays {
            copy.remove(name);
        }
    }
    for name in &NEW_IN_EVERY_REQUEST {
        if let Some(value) = copy.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    copy.insert(X_ATTEMPT_COUNT.clone(), HeaderValue::from(attempt));
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_concerns_the_connection_stays_and_all_else_goes_with_the_number_of_the_attempt() {
        let came = map(&[
            ("host", "a.example"),
            ("connection", "keep-alive"),
            ("te", "trailers"),
            ("x-envoy-attempt-count", "7"),
            ("accept", "a"),
            ("accept", "b"),
        ]);

        let sent = of_attempt(&came, 2);

        let expected = [
            ("te", "trailers"),
            ("accept", "a"),
            ("accept", "b"),
            ("x-envoy-attempt-count", "2"),
        ];
        assert_eq!(sent, map(&expected));
        assert_eq!(came.len(), 6, "the next attempt begins with the same");
    }

    #[test]
    fn a_request_id_is_not_put_into_the_table_of_hpack() {
        let came = map(&[("x-request-id", "1"), ("traceparent", "2"), ("accept", "a")]);

        let sent = of_attempt(&came, 1);

        assert!(sent["x-request-id"].is_sensitive() && sent["traceparent"].is_sensitive());
        assert!(!sent["accept"].is_sensitive() && !came["x-request-id"].is_sensitive());
    }
}
