//! What an answer's `Keep-Alive` header says of its connection (RFC 2068 §19.7.1.1; in use though
//! never standardised since).

use std::time::Duration;

use http::HeaderValue;

/// Parameters that are looked at; more are left unread.
const PARAMETERS_MAX: usize = 8;

/// What the upstream says of how long it keeps the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    /// It closes the connection after so long a rest.
    pub(crate) timeout: Option<Duration>,
    /// It takes so many more requests.
    pub(crate) requests_left: Option<u32>,
}

// === impl KeepAlive ===

impl KeepAlive {
    /// Reads `timeout=5, max=100`; what is not understood is as good as not there.
    pub(super) fn parse(value: &HeaderValue) -> Self {
        let mut said = Self::default();
        let parameters = value.as_bytes().split(|byte| *byte == b',');
        for parameter in parameters.take(PARAMETERS_MAX) {
            let Some(equals) = parameter.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let name = parameter[..equals].trim_ascii();
            let number = number(parameter[equals + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"timeout") {
                said.timeout = number.map(|it| Duration::from_secs(it.into()));
            } else if name.eq_ignore_ascii_case(b"max") {
                said.requests_left = number;
            }
        }
        said
    }

    /// Whether the upstream announces that the connection ends with this answer.
    pub(crate) fn ends(self) -> bool {
        self.timeout == Some(Duration::ZERO) || self.requests_left == Some(0)
    }
}

/// Digits only; what is too large is the largest.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|byte| u32::from(byte - b'0'));
    Some(digits.fold(0, |number: u32, digit| {
        number.saturating_mul(10).saturating_add(digit)
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> (Option<u64>, Option<u32>) {
        let value = HeaderValue::from_str(value).expect("a value");
        let said = KeepAlive::parse(&value);
        (said.timeout.map(|it| it.as_secs()), said.requests_left)
    }

    #[test]
    fn both_parameters_are_read_in_any_form_that_servers_use() {
        for (value, timeout, left) in [
            ("timeout=5, max=100", Some(5), Some(100)),
            ("timeout=5", Some(5), None),
            ("max=0", None, Some(0)),
            (" Timeout = 75 ,MAX=1", Some(75), Some(1)),
            ("300", None, None),
            ("timeout=-1, max=x", None, None),
            ("timeout=99999999999999", Some(u64::from(u32::MAX)), None),
            ("", None, None),
        ] {
            assert_eq!(parsed(value), (timeout, left), "{value:?}");
        }
    }

    #[test]
    fn nothing_left_means_that_the_connection_ends() {
        let ends = |value: &'static str| KeepAlive::parse(&HeaderValue::from_static(value)).ends();

        assert!(ends("timeout=5, max=0") && ends("timeout=0"));
        assert!(!ends("timeout=5, max=1") && !ends("nonsense"));
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                KeepAlive::parse(&value);
            }
        }

        #[test]
        fn numbers_come_back(timeout in 0_u32.., max in 0_u32..) {
            let value = format!("timeout={timeout}, max={max}");
            prop_assert_eq!(parsed(&value), (Some(timeout.into()), Some(max)));
        }
    }
}
