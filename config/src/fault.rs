//! Faults that the API has no field for: what annotations of a `VirtualService` say of them.
//!
//! One parser for `check` and the proxy, so that what is accepted is what is injected.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::value::Percent;

/// Whether faults meet a request or each of its attempts.
pub const FAULT_SCOPE: &str = "meshproxy.io/fault-scope";
/// Ends a share of requests with a reset instead of an answer.
pub const FAULT_RESET: &str = "meshproxy.io/fault-reset";
/// Slows the bodies of a share of answers down.
pub const FAULT_SLOW_BODY: &str = "meshproxy.io/fault-slow-body";

/// Most bytes per second of a slow body; beyond it nothing is slow.
const RATE_MAX: u64 = 1 << 30;

/// Names of the gRPC statuses in the order of their numbers, from 0.
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What faults meet: the value of [`FAULT_SCOPE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaultScope {
    /// The request, before its timeout and retries begin.
    #[default]
    Request,
    /// Each attempt of it, as if the upstream had done it.
    Attempt,
}

/// The value of [`FAULT_RESET`]: `10%[; rules=NAME,…]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResetFault {
    /// Share of requests.
    pub percent: Percent,
    /// Where.
    pub rules: Rules,
}

/// The value of [`FAULT_SLOW_BODY`]: `10%; rate=1KiB/s[; rules=NAME,…]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowBodyFault {
    /// Share of requests.
    pub percent: Percent,
    /// Bytes of the answer's body that pass in a second.
    pub bytes_per_second: NonZeroU64,
    /// Where.
    pub rules: Rules,
}

/// The rules of `http[]` that a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// Every rule.
    All,
    /// The rules with these names.
    Named(Vec<String>),
}

/// The faults that annotations ask for.
#[derive(Debug, Clone, Default)]
pub struct AnnotatedFaults {
    /// What faults meet, those of the rules included.
    pub scope: FaultScope,
    /// Connection resets.
    pub reset: Option<ResetFault>,
    /// Slow bodies.
    pub slow_body: Option<SlowBodyFault>,
}

/// The number of a gRPC status such as `UNAVAILABLE`.
pub fn grpc_status(name: &str) -> Option<u16> {
    let number = GRPC_STATUS.iter().position(|known| *known == name)?;
    u16::try_from(number).ok()
}

// === impl AnnotatedFaults ===

impl AnnotatedFaults {
    /// Reads the annotations of a `VirtualService`; what cannot be read, which validation reports,
    /// asks for nothing.
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        Self {
            scope: value(annotations, FAULT_SCOPE).unwrap_or_default(),
            reset: value(annotations, FAULT_RESET),
            slow_body: value(annotations, FAULT_SLOW_BODY),
        }
    }
}

fn value<T: FromStr>(annotations: &BTreeMap<String, String>, name: &str) -> Option<T> {
    annotations.get(name)?.parse().ok()
}

// === impl FaultScope ===

impl FromStr for FaultScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "request" => Ok(Self::Request),
            "attempt" => Ok(Self::Attempt),
            _ => Err(format!("must be request or attempt, got \"{text}\"")),
        }
    }
}

// === impl ResetFault ===

impl FromStr for ResetFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Parts::read(text)?;
        match parts.rate {
            Some(_) => Err("must have only a share and rules, got rate".to_owned()),
            None => Ok(Self {
                percent: parts.percent,
                rules: parts.rules,
            }),
        }
    }
}

// === impl SlowBodyFault ===

impl FromStr for SlowBodyFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Parts::read(text)?;
        let rate = parts
            .rate
            .ok_or("must have a rate, such as \"10%; rate=1KiB/s\"")?;
        Ok(Self {
            percent: parts.percent,
            bytes_per_second: rate,
            rules: parts.rules,
        })
    }
}

// === impl Rules ===

impl Rules {
    /// Whether a rule with this name is among them.
    pub fn cover(&self, name: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => name.is_some_and(|name| names.iter().any(|it| it == name)),
        }
    }
}

/// What stands between the semicolons of a value.
struct Parts {
    percent: Percent,
    rate: Option<NonZeroU64>,
    rules: Rules,
}

// === impl Parts ===

impl Parts {
    fn read(text: &str) -> Result<Self, String> {
        let mut written = text.split(';').map(str::trim);
        let mut parts = Self {
            percent: share(written.next().unwrap_or_default())?,
            rate: None,
            rules: Rules::All,
        };
        for attribute in written {
            match attribute.split_once('=') {
                Some(("rate", rate)) if parts.rate.is_none() => {
                    parts.rate = Some(self::rate(rate.trim())?);
                }
                Some(("rules", names)) if parts.rules == Rules::All => {
                    parts.rules = rules(names)?;
                }
                _ => {
                    return Err(format!(
                        "must have rate=RATE and rules=NAME,NAME behind the share, each at most \
                         once, got \"{attribute}\""
                    ));
                }
            }
        }
        Ok(parts)
    }
}

fn share(text: &str) -> Result<Percent, String> {
    let number = text.strip_suffix('%').map(str::trim);
    let value = number.and_then(|number| number.parse::<f64>().ok());
    let value = value.ok_or_else(|| {
        format!("must begin with a share such as \"10%\" or \"0.5%\", got \"{text}\"")
    })?;
    let percent = Percent { value };
    match percent.is_share() {
        true => Ok(percent),
        false => Err(format!(
            "must begin with 0% or a share from {}% to 100%, got \"{text}\"",
            Percent::MIN
        )),
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    const UNITS: [(&str, u64); 3] = [("KiB/s", 1 << 10), ("MiB/s", 1 << 20), ("B/s", 1)];
    let read = |(unit, bytes): &(&str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes).filter(|rate| *rate <= RATE_MAX)
    };
    let bytes = UNITS.iter().find_map(read).and_then(NonZeroU64::new);
    bytes.ok_or_else(|| {
        format!(
            "rate must be a whole number of B/s, KiB/s or MiB/s from 1B/s to 1024MiB/s, got \
             \"{text}\""
        )
    })
}

fn rules(names: &str) -> Result<Rules, String> {
    let names: Vec<String> = names
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    match names.iter().any(String::is_empty) {
        true => Err("rules must be names of rules, separated by commas".to_owned()),
        false => Ok(Rules::Named(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_has_a_share_and_perhaps_rules() {
        let everywhere: ResetFault = "0.5%".parse().expect("valid");
        let somewhere: ResetFault = "10 %; rules=a, b".parse().expect("valid");

        assert_eq!(everywhere.percent.value, 0.5);
        assert!(everywhere.rules.cover(None) && everywhere.rules.cover(Some("a")));
        assert_eq!(somewhere.percent.value, 10.0);
        assert!(somewhere.rules.cover(Some("a")) && somewhere.rules.cover(Some("b")));
        assert!(!somewhere.rules.cover(Some("c")) && !somewhere.rules.cover(None));
    }

    #[test]
    fn a_slow_body_has_a_rate() {
        for (text, bytes) in [
            ("1%; rate=7B/s", 7),
            ("1%;rate=1KiB/s;rules=a", 1_024),
            ("1%; rules=a; rate= 2 MiB/s", 2 << 20),
        ] {
            let fault: SlowBodyFault = text.parse().expect(text);

            assert_eq!(fault.bytes_per_second.get(), bytes, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_would_be_right() {
        let reset = |text: &str| text.parse::<ResetFault>().expect_err(text);
        let slow = |text: &str| text.parse::<SlowBodyFault>().expect_err(text);
        for (error, begins) in [
            (reset("10"), "must begin with a share"),
            (reset(""), "must begin with a share"),
            (reset("NaN%"), "must begin with 0% or a share"),
            (reset("101%"), "must begin with 0% or a share"),
            (reset("0.00001%"), "must begin with 0% or a share"),
            (reset("-1%"), "must begin with 0% or a share"),
            (reset("1%; rate=1B/s"), "must have only a share and rules"),
            (reset("1%; rules="), "rules must be names"),
            (reset("1%; rules=a; rules=b"), "must have rate=RATE"),
            (reset("1%; speed=1"), "must have rate=RATE"),
            (slow("1%"), "must have a rate"),
            (slow("1%; rate=0B/s"), "rate must be"),
            (slow("1%; rate=1"), "rate must be"),
            (slow("1%; rate=1025MiB/s"), "rate must be"),
            (slow("1%; rate=99999999999999999MiB/s"), "rate must be"),
        ] {
            assert!(error.starts_with(begins), "{error}");
        }
    }

    #[test]
    fn statuses_of_grpc_have_the_numbers_of_its_specification() {
        assert_eq!(grpc_status("OK"), Some(0));
        assert_eq!(grpc_status("NOT_FOUND"), Some(5));
        assert_eq!(grpc_status("UNAVAILABLE"), Some(14));
        assert_eq!(grpc_status("UNAUTHENTICATED"), Some(16));
        assert_eq!(grpc_status("unavailable"), None);
    }
}
