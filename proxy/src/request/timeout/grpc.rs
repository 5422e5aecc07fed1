//! `grpc-timeout`: how long the caller of a gRPC method waits (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The header, in requests.
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most digits of a value.
const DIGITS_MAX: usize = 8;
/// The largest number with so many digits.
const NUMBER_MAX: u128 = 99_999_999;

/// How long the caller waits. A value that is not valid is none: zero is not, and taking it for a
/// time that is over would refuse what every server accepts.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(&GRPC_TIMEOUT)?.as_bytes().split_last()?;
    let valid = digits.len() <= DIGITS_MAX && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !valid || number == 0 {
        return None;
    }
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The value for `left`, in the finest unit that holds it, rounded down: the upstream must not think
/// that it has longer than the caller waits. At least one nanosecond.
pub(crate) fn value(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos().max(1);
    let units = [
        ("n", 1),
        ("u", 1_000),
        ("m", 1_000_000),
        ("S", 1_000_000_000),
    ];
    let fits = units.iter().find(|(_, size)| nanos / size <= NUMBER_MAX);
    let text = match fits {
        Some((unit, size)) => format!("{}{unit}", nanos / size),
        None => format!("{NUMBER_MAX}S"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn read_text(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(&GRPC_TIMEOUT, HeaderValue::from_str(text).expect("a value"));
        read(&headers)
    }

    #[test]
    fn values_have_a_number_and_a_unit() {
        assert_eq!(read_text("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(read_text("2M"), Some(Duration::from_secs(120)));
        assert_eq!(
            read_text("99999999S"),
            Some(Duration::from_secs(99_999_999))
        );
        assert_eq!(read_text("200m"), Some(Duration::from_millis(200)));
        assert_eq!(read_text("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read_text("7n"), Some(Duration::from_nanos(7)));
        for invalid in [
            "",
            "S",
            "0S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789m",
            "1 S",
        ] {
            assert_eq!(read_text(invalid), None, "{invalid:?}");
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }

    #[test]
    fn values_are_written_in_the_finest_unit_that_holds_them() {
        assert_eq!(value(Duration::from_nanos(5)), "5n");
        assert_eq!(value(Duration::from_millis(200)), "200000u");
        assert_eq!(value(Duration::from_secs(200)), "200000m");
        assert_eq!(value(Duration::ZERO), "1n");
        assert_eq!(value(Duration::MAX), "99999999S");
    }

    proptest! {
        #[test]
        fn what_is_written_is_never_longer_than_what_is_left(nanos in 1_u64..99_999_999_000_000_000) {
            let left = Duration::from_nanos(nanos);
            let text = value(left);

            let read = read_text(text.to_str().expect("ASCII")).expect("valid");

            prop_assert!(read <= left);
            // What rounding takes away is at most one in a hundred thousand.
            prop_assert!(left - read <= left / 99_999 || left.as_nanos() < NUMBER_MAX);
        }

        #[test]
        fn no_text_is_too_strange(text in "[ -~]{0,12}") {
            let _ = read_text(&text);
        }
    }
}
