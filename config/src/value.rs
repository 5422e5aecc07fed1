//! Checked values: what parses is legal, and what is not says what would be.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// How a string is compared.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "RawStringMatch", into = "RawStringMatch")]
pub enum StringMatch {
    /// The empty matcher `{}`: the value is present.
    Presence,
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// RE2 pattern that matches the whole value.
    Regex(String),
}

/// A span of time as the API writes it: `1h`, `1m30s`, `1.5s`, `100ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// A share in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Percent {
    /// 0–100.
    pub value: f64,
}

/// A number that may also be written as a string, as the API allows for wide numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Number<T>(pub T);

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a duration such as \"1.5s\", \"100ms\" or \"1h\", got \"{0}\"")]
pub struct DurationError(String);

/// How a string is compared: by one of these. None at all asks only whether it is there.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct RawStringMatch {
    /// Equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    /// Begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// RE2 pattern that matches the whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
}

// === impl Percent ===

impl Percent {
    /// Least share above 0: shares have a resolution of one in a million.
    pub const MIN: f64 = 0.0001;

    /// Whether it is 0, or a share that can be told from it and is not above 100.
    pub fn is_share(self) -> bool {
        self.value == 0.0 || (Self::MIN..=100.0).contains(&self.value)
    }

    /// The share in millionths; nothing below 0, everything above 100.
    pub fn millionths(self) -> u32 {
        // The conversion saturates, and makes 0 of what is no number.
        ((self.value * 10_000.0).round() as u32).min(1_000_000)
    }
}

// === impl StringMatch ===

impl TryFrom<RawStringMatch> for StringMatch {
    type Error = &'static str;

    fn try_from(raw: RawStringMatch) -> Result<Self, Self::Error> {
        match (raw.exact, raw.prefix, raw.regex) {
            (None, None, None) => Ok(Self::Presence),
            (Some(exact), None, None) => Ok(Self::Exact(exact)),
            (None, Some(prefix), None) => Ok(Self::Prefix(prefix)),
            (None, None, Some(regex)) => Ok(Self::Regex(regex)),
            _ => Err("must have exactly one of exact, prefix and regex"),
        }
    }
}

impl From<StringMatch> for RawStringMatch {
    fn from(matcher: StringMatch) -> Self {
        let mut raw = Self::default();
        match matcher {
            StringMatch::Presence => {}
            StringMatch::Exact(exact) => raw.exact = Some(exact),
            StringMatch::Prefix(prefix) => raw.prefix = Some(prefix),
            StringMatch::Regex(regex) => raw.regex = Some(regex),
        }
        raw
    }
}

// === impl Duration ===

impl Duration {
    /// The span as the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Wraps a span.
    pub const fn from_std(span: std::time::Duration) -> Self {
        Self(span)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    /// Reads Go's duration syntax: numbers with a fraction and one of `h m s ms us µs ns`, in a row.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || DurationError(text.to_owned());
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(std::time::Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(fail());
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let number_len = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(fail)?;
            let (number, tail) = rest.split_at(number_len);
            let unit_len = tail
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            let scale: u128 = match unit {
                "h" => 3_600_000_000_000,
                "m" => 60_000_000_000,
                "s" => 1_000_000_000,
                "ms" => 1_000_000,
                "us" | "µs" | "μs" => 1_000,
                "ns" => 1,
                _ => return Err(fail()),
            };
            nanos = nanos
                .checked_add(scaled(number, scale).ok_or_else(fail)?)
                .ok_or_else(fail)?;
            rest = tail;
        }
        // Go's duration is a signed 64-bit number of nanoseconds (about 292 years).
        let nanos = i64::try_from(nanos).map_err(|_| fail())?;
        Ok(Self(std::time::Duration::from_nanos(nanos.unsigned_abs())))
    }
}

/// `number` (digits with at most one dot) times `scale`, cut to whole nanoseconds.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(15)];
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u128>().ok()? * scale / 10_u128.pow(u32::try_from(fraction.len()).ok()?)
    };
    whole.checked_mul(scale)?.checked_add(part)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            _ if nanos.is_multiple_of(1_000_000_000) => write!(f, "{}s", nanos / 1_000_000_000),
            _ if nanos.is_multiple_of(1_000_000) => write!(f, "{}ms", nanos / 1_000_000),
            _ => write!(f, "{nanos}ns"),
        }
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1.5s\", \"100ms\" or \"1h\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Duration")
    }

    fn inline_schema() -> bool {
        true
    }

    // What is no duration is told by us, in better words than those of a pattern.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

// === impl Number ===

impl<T: JsonSchema> JsonSchema for Number<T> {
    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("Number_{}", T::schema_name()))
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<T>();
        json_schema!({"anyOf": [number, {"type": "string"}]})
    }
}

impl<'de, T> Deserialize<'de> for Number<T>
where
    T: Deserialize<'de> + FromStr,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "must be a number")]
        enum Raw<T> {
            Number(T),
            Text(String),
        }

        match Raw::deserialize(deserializer)? {
            Raw::Number(number) => Ok(Self(number)),
            Raw::Text(text) => match text.parse() {
                Ok(number) => Ok(Self(number)),
                Err(_) => Err(de::Error::custom(format_args!(
                    "must be a number, got \"{text}\""
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, millis) in [
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("100ms", 100),
            (".5s", 500),
            ("0", 0),
        ] {
            let duration: Duration = text.parse().expect(text);

            assert_eq!(duration.get().as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1x",
            "1.2.3s",
            "-1s",
            "1s ",
            "999999999999999999h",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
