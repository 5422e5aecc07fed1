//! Spans of time in which certificates are valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// How far clocks of the mesh may be apart: a certificate is valid from so long before it was made, so
/// that a peer whose clock is late takes it.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// When a certificate is valid, in whole seconds; both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

// === impl Validity ===

impl Validity {
    /// From `now`, less what clocks may be apart, for `lifetime` from `now`.
    ///
    /// `None` if that leaves the years that certificates can say (RFC 5280 §4.1.2.5), which a broken
    /// clock does.
    pub(crate) fn starting(now: SystemTime, lifetime: Duration) -> Option<Self> {
        let validity = Self {
            not_before: whole_second(now.checked_sub(CLOCK_SKEW)?)?,
            not_after: whole_second(now.checked_add(lifetime)?)?,
        };
        validity.to_utc()?;
        Some(validity)
    }

    /// What is left of it within `outer`; `None` if nothing is.
    pub(crate) fn within(self, outer: Self) -> Option<Self> {
        let validity = Self {
            not_before: self.not_before.max(outer.not_before),
            not_after: self.not_after.min(outer.not_after),
        };
        (validity.not_before < validity.not_after).then_some(validity)
    }

    /// Whether it has not begun, lasts, or is over.
    pub(crate) fn at(&self, now: SystemTime) -> Standing {
        match (now < self.not_before, now > self.not_after) {
            (true, _) => Standing::Ahead,
            (false, true) => Standing::Over,
            (false, false) => Standing::Lasts,
        }
    }

    /// Both ends as certificates write them.
    pub(crate) fn to_utc(self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        Some((utc(self.not_before)?, utc(self.not_after)?))
    }

    /// From ends in seconds since 1970.
    pub(crate) fn from_timestamps(not_before: i64, not_after: i64) -> Option<Self> {
        Some(Self {
            not_before: instant(not_before)?,
            not_after: instant(not_after)?,
        })
    }
}

/// A span of time as seen from a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not begun.
    Ahead,
    /// It has begun and is not over.
    Lasts,
    /// It is over.
    Over,
}

fn whole_second(at: SystemTime) -> Option<SystemTime> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs()))
}

fn utc(at: SystemTime) -> Option<OffsetDateTime> {
    let seconds = at.duration_since(UNIX_EPOCH).ok()?.as_secs();
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

/// A certificate may be valid from before 1970.
fn instant(seconds: i64) -> Option<SystemTime> {
    let span = Duration::from_secs(seconds.unsigned_abs());
    match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(span),
        false => UNIX_EPOCH.checked_add(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn it_begins_before_now_and_ends_a_lifetime_after() {
        let now = at(1_000_000) + Duration::from_millis(999);

        let validity = Validity::starting(now, HOUR).expect("a sound clock");

        assert_eq!(validity.not_before, at(1_000_000) - CLOCK_SKEW);
        assert_eq!(validity.not_after, at(1_000_000) + HOUR);
    }

    #[test]
    fn a_broken_clock_gives_none() {
        assert_eq!(Validity::starting(UNIX_EPOCH, HOUR), None);
        let year_10000 = at(253_402_300_800);
        assert_eq!(Validity::starting(year_10000, HOUR), None);
    }

    #[test]
    fn it_stands_by_both_of_its_ends() {
        let validity = Validity {
            not_before: at(10),
            not_after: at(20),
        };

        assert_eq!(validity.at(at(9)), Standing::Ahead);
        assert_eq!(validity.at(at(10)), Standing::Lasts);
        assert_eq!(validity.at(at(20)), Standing::Lasts);
        assert_eq!(validity.at(at(21)), Standing::Over);
    }
}
