//! Precedence: the older resource wins; of the same age, the lesser name, then namespace.

use std::sync::Arc;

use crate::resource::Resource;

/// Seconds and nanoseconds since 1970; `None`, for an unknown time, is oldest.
pub(super) type Created = Option<(i64, u32)>;

/// Sorts resources by precedence, the one that wins first.
pub(super) fn by_precedence(resources: &mut [Arc<Resource>]) {
    resources.sort_by_cached_key(|resource| {
        let meta = &resource.meta;
        let created = meta.creation_timestamp.as_deref().and_then(created);
        (created, meta.name.clone(), meta.namespace.clone())
    });
}

/// The resources by precedence, the one that wins first.
pub(crate) fn in_precedence(resources: &[Arc<Resource>]) -> Vec<Arc<Resource>> {
    let mut ordered = resources.to_vec();
    by_precedence(&mut ordered);
    ordered
}

/// Reads an RFC 3339 time; text that is none counts as unknown.
pub(super) fn created(text: &str) -> Created {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len()),
        ),
    };
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?, nanos))
}

/// Offset of `Z` or `+01:30` from UTC, in seconds.
fn zone_seconds(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60))
}

/// Days of the proleptic Gregorian calendar since 1970-01-01.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day at the end, so that months have fixed offsets.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_fraction_and_zone() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2024-02-29T12:30:05Z", Some((1_709_209_805, 0))),
            (
                "2024-02-29T13:30:05.25+01:00",
                Some((1_709_209_805, 250_000_000)),
            ),
            ("1969-12-31T23:59:59Z", Some((-1, 0))),
            ("yesterday", None),
            ("2024-02-29", None),
            ("2024-02-29T12:30:05", None),
        ] {
            assert_eq!(created(text), expected, "{text}");
        }
    }
}
