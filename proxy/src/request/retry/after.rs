//! `Retry-After`: how long a server asks to be left alone (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// The wait that an answer asks for at `now`; none if it asks for none, or not in a way that can be
/// read. A date that is past means no wait.
pub(super) fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits are as good as for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of the RFC.
    const EXAMPLE_SECONDS: u64 = 784_111_777;

    fn wait_at(seconds: u64, value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(value).expect("a value");
        headers.insert(header::RETRY_AFTER, value);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        wait(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_seconds() {
        assert_eq!(wait_at(0, "0"), Some(0));
        assert_eq!(wait_at(0, "120"), Some(120));
        assert_eq!(wait_at(0, " 5 "), Some(5));
        assert_eq!(wait_at(0, "99999999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn all_three_forms_of_a_date_are_read() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(wait_at(EXAMPLE_SECONDS - 7, date), Some(7), "{date}");
            assert_eq!(wait_at(EXAMPLE_SECONDS + 7, date), Some(0), "{date}");
        }
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for value in ["", "-1", "+1", "1.5", "soon", "5 seconds", "1, 2"] {
            assert_eq!(wait_at(0, value), None, "{value:?}");
        }
        assert_eq!(wait(&HeaderMap::new(), SystemTime::now()), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(value in "[ -~]{0,40}") {
            let _ = wait_at(EXAMPLE_SECONDS, &value);
        }
    }
}
