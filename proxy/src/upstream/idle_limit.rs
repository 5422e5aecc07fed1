//! How long an endpoint keeps a connection that rests, as far as it has said or shown.
//!
//! Whoever closes a resting connection in the moment in which a request is sent on it loses that
//! request, and nobody can tell whether it was processed. The only cure is to be first: not to use a
//! connection that rested nearly as long as the other side lets it. `Keep-Alive: timeout=N` says the
//! time. Most servers do not send it, so the closes of resting connections are watched, too: that
//! they come at the same age again is what tells a limit from a restart.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest limit that is remembered; no connection rests longer.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest limit that is believed to be one. Servers in use wait for seconds, while restarts close
/// busy connections, whose rests are short.
const OBSERVED_MIN: Duration = Duration::from_millis(500);
/// Time between two observations that confirm each other. One restart is seen by all workers within
/// one round of looks.
const CONFIRMED_AFTER: Duration = Duration::from_secs(2);
/// How long a limit that was observed is believed. It cannot be confirmed while it is obeyed.
const OBSERVED_FOR: Duration = Duration::from_secs(600);
/// Least distance kept from a limit, as long as that is less than half of it: latency of the network
/// and of two event loops.
const MARGIN_MIN: Duration = Duration::from_millis(100);

/// What is known of one endpoint's limit; workers share it.
#[derive(Debug, Default)]
pub struct IdleLimit {
    /// Milliseconds of the last announcement; 0 if there was none.
    announced: AtomicU32,
    /// Milliseconds that are safe by observation; 0 if nothing is known.
    observed: AtomicU32,
    /// What observations rest on. Locked only when a connection was found closed, and once in a
    /// round of looks.
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// The limit lies in this span, if it was a limit.
    candidate: Option<(Span, Instant)>,
    confirmed: Option<Instant>,
}

/// Within which ages, since it began to rest, a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// It was still open at this age.
    pub(crate) open: Duration,
    /// It was closed at this age.
    pub(crate) closed: Duration,
}

/// Connections of one endpoint that one look found closed.
#[derive(Debug, Default)]
pub(crate) struct Closes {
    ages: Option<(Duration, Duration)>,
}

// === impl IdleLimit ===

impl IdleLimit {
    /// Notes what the endpoint said.
    pub(crate) fn announce(&self, timeout: Duration) {
        let millis = in_millis(timeout);
        // Nearly every answer says the same, and workers share the cache line.
        if self.announced.load(Ordering::Relaxed) != millis {
            self.announced.store(millis, Ordering::Relaxed);
        }
    }

    /// Notes when a resting connection was closed by the endpoint.
    pub(crate) fn observe(&self, seen: Span, now: Instant) {
        if seen.closed < OBSERVED_MIN {
            return;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = watch.observe(seen, now) {
            self.observed
                .store(in_millis(limit.safe()), Ordering::Relaxed);
        }
    }

    /// Forgets an observation that is too old.
    pub(crate) fn review(&self, now: Instant) {
        if self.observed.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |at: Instant| now.saturating_duration_since(at) >= OBSERVED_FOR;
        if watch.confirmed.is_none_or(old) {
            *watch = Watch::default();
            self.observed.store(0, Ordering::Relaxed);
        }
    }

    /// How long a connection may rest and be used again, if configuration allows `configured`.
    #[inline]
    pub(crate) fn within(&self, configured: Duration) -> Duration {
        let announced = self.announced.load(Ordering::Relaxed);
        let observed = self.observed.load(Ordering::Relaxed);
        if announced == 0 && observed == 0 {
            return configured;
        }
        let mut limit = configured;
        if announced != 0 {
            limit = limit.min(below(Duration::from_millis(announced.into())));
        }
        if observed != 0 {
            limit = limit.min(below(Duration::from_millis(observed.into())));
        }
        limit
    }

    /// What the endpoint said last.
    pub fn announced(&self) -> Option<Duration> {
        known(&self.announced)
    }

    /// For how long it was seen to keep connections.
    pub fn observed(&self) -> Option<Duration> {
        known(&self.observed)
    }
}

fn known(millis: &AtomicU32) -> Option<Duration> {
    let millis = millis.load(Ordering::Relaxed);
    (millis != 0).then(|| Duration::from_millis(millis.into()))
}

/// At least 1: 0 stands for nothing known.
fn in_millis(span: Duration) -> u32 {
    let millis = span.min(LIMIT_MAX).as_millis();
    u32::try_from(millis).unwrap_or(u32::MAX).max(1)
}

/// The age up to which a connection is safe to use when it is closed at `limit`.
fn below(limit: Duration) -> Duration {
    limit - (limit / 10).max(MARGIN_MIN.min(limit / 2))
}

// === impl Watch ===

impl Watch {
    /// The limit, if this observation confirms an earlier one.
    fn observe(&mut self, seen: Span, now: Instant) -> Option<Span> {
        let alike = self
            .candidate
            .and_then(|(before, at)| Some((before.common(seen)?, at)));
        let Some((common, at)) = alike else {
            self.candidate = Some((seen, now));
            return None;
        };
        if now.saturating_duration_since(at) < CONFIRMED_AFTER {
            self.candidate = Some((common, at));
            return None;
        }
        self.candidate = Some((common, now));
        self.confirmed = Some(now);
        Some(common)
    }
}

// === impl Span ===

impl Span {
    fn common(self, other: Self) -> Option<Self> {
        let common = Self {
            open: self.open.max(other.open),
            closed: self.closed.min(other.closed),
        };
        (common.open < common.closed).then_some(common)
    }

    /// An age at which a connection is open if the limit lies in this span: the last at which one
    /// was, or half of the first at which one was not, while looks are too rare to know better.
    fn safe(self) -> Duration {
        self.open.max(self.closed / 2)
    }
}

// === impl Closes ===

impl Closes {
    /// A connection that rested for `age` was found closed.
    pub(crate) fn note(&mut self, age: Duration) {
        let (youngest, oldest) = self.ages.unwrap_or((age, age));
        self.ages = Some((youngest.min(age), oldest.max(age)));
    }

    /// When they were closed, if that was by a limit; `look` is the time since the last look, and
    /// `open` the greatest age of a connection that is still open. A limit spares no older one, and
    /// what it closes between two looks has nearly the same age.
    pub(crate) fn span(&self, look: Duration, open: Option<Duration>) -> Option<Span> {
        let (youngest, oldest) = self.ages?;
        let spared = open.is_some_and(|open| open >= youngest);
        let at_once = oldest - youngest > look;
        (!spared && !at_once).then(|| Span {
            open: oldest.saturating_sub(look),
            closed: youngest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn span(open: u64, closed: u64) -> Span {
        Span {
            open: ms(open),
            closed: ms(closed),
        }
    }

    #[test]
    fn a_limit_that_was_announced_is_undercut() {
        let limit = IdleLimit::default();
        assert_eq!(limit.within(HOUR), HOUR);

        for (announced, usable) in [(5_000, 4_500), (1_000, 900), (100, 50), (75_000, 67_500)] {
            limit.announce(ms(announced));
            assert_eq!(limit.within(HOUR), ms(usable));
        }
        assert_eq!(
            limit.within(ms(10)),
            ms(10),
            "configuration can ask for less"
        );
    }

    #[test]
    fn a_close_is_taken_for_a_limit_only_when_it_comes_at_the_same_age_again() {
        let start = Instant::now();
        let limit = IdleLimit::default();

        limit.observe(span(4_200, 5_100), start);
        assert_eq!(limit.observed(), None, "that may have been a restart");
        limit.observe(span(4_300, 5_200), start + ms(10));
        assert_eq!(limit.observed(), None, "that was the same restart");
        limit.observe(span(4_700, 5_600), start + ms(9_000));

        assert_eq!(limit.observed(), Some(ms(4_700)));
        assert_eq!(limit.within(HOUR), ms(4_230));
    }

    #[test]
    fn closes_at_different_ages_teach_nothing() {
        let start = Instant::now();
        let limit = IdleLimit::default();

        for (number, age) in [(0, 9_000), (1, 3_000), (2, 20_000), (3, 700)] {
            let seen = span(age - 200, age);
            limit.observe(seen, start + ms(10_000) * number);
        }
        for number in 4..10 {
            limit.observe(span(0, 20), start + ms(10_000) * number);
        }

        assert_eq!(limit.observed(), None);
    }

    #[test]
    fn what_was_observed_is_forgotten_after_a_while() {
        let start = Instant::now();
        let limit = IdleLimit::default();
        limit.observe(span(0, 1_600), start);
        limit.observe(span(100, 1_000), start + ms(3_000));
        assert_eq!(limit.observed(), Some(ms(500)));

        limit.review(start + ms(3_000) + OBSERVED_FOR - ms(1));
        assert_eq!(limit.observed(), Some(ms(500)));
        limit.review(start + ms(3_000) + OBSERVED_FOR);

        assert_eq!(limit.within(HOUR), HOUR);
    }

    #[test]
    fn what_is_closed_by_a_limit_is_told_from_what_is_closed_at_once() {
        let look = ms(1_000);
        let closed = |ages: &[u64]| {
            let mut closes = Closes::default();
            ages.iter().for_each(|age| closes.note(ms(*age)));
            closes
        };

        assert_eq!(closed(&[]).span(look, None), None);
        assert_eq!(
            closed(&[5_900, 5_300]).span(look, Some(ms(4_000))),
            Some(span(4_900, 5_300))
        );
        assert_eq!(closed(&[5_300]).span(look, Some(ms(6_000))), None, "spared");
        assert_eq!(closed(&[9_000, 5_300]).span(look, None), None, "at once");
        assert_eq!(closed(&[700]).span(look, None), Some(span(0, 700)));
    }
}
