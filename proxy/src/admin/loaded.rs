//! `/config`: what is loaded, from where, and whether the last change could be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use config::Problem;
use serde::{Serialize, Serializer};

use crate::source::control::Shown;

/// What is loaded.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigInfo {
    /// Files that were read for what is in use.
    pub files: Vec<PathBuf>,
    /// Resources in use, by kind.
    pub resources: BTreeMap<String, usize>,
    /// Counts what was published, from 1; 0 before the first.
    pub generation: u64,
    /// When what is in use was loaded.
    #[serde(serialize_with = "rfc3339")]
    pub loaded_at: Option<SystemTime>,
    /// Whether the files as they are now are what is in use.
    pub valid: bool,
    /// Why they are not, in one line.
    pub last_error: Option<String>,
    /// All problems of the files as they were last read, warnings included.
    pub problems: Vec<Problem>,
    /// How it goes with the control plane, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Shown>,
}

fn rfc3339<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&written(*time)),
        None => serializer.serialize_none(),
    }
}

/// A time in UTC as `2024-02-29T12:00:00.000Z`; one before 1970 is that of its begin.
pub(super) fn written(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    utc(since.as_secs(), since.subsec_millis())
}

/// A time in UTC as `2024-02-29T12:00:00.000Z`.
fn utc(unix_secs: u64, millis: u32) -> String {
    let (days, second) = (unix_secs / 86_400, unix_secs % 86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of a year and months have a regular pattern of lengths.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    const CYCLE_DAYS: u64 = 146_097;
    let days = days + EPOCH;
    let (cycle, in_cycle) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    let leap = in_cycle / 1_460 + in_cycle / 146_096 - in_cycle / 36_524;
    let year = (in_cycle - leap) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * cycle + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (unix_secs, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_secs, 0), expected);
        }
    }
}
