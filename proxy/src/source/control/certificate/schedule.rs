//! When a certificate is renewed. No IO; time and chance are arguments.

use std::time::{Duration, SystemTime};

use crate::tls::facts::CertificateFacts;

/// Part of its time after which a certificate is renewed at the latest.
const RENEWED_AFTER: f64 = 0.5;
/// Part of its time by which chance has it renewed sooner, so that not all ask at the same time.
const JITTER: f64 = 0.1;
/// How long before they are made certificates are valid, for clocks that are late.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    from: SystemTime,
    /// When it was made, by our clock; about so if that was not seen.
    issued: SystemTime,
    until: SystemTime,
}

// === impl Term ===

impl Term {
    /// What a certificate says; none if there is no time between.
    pub(crate) fn of(certificate: Option<&CertificateFacts>) -> Option<Self> {
        let certificate = certificate?;
        Self::between(certificate.not_before, certificate.not_after)
    }

    fn between(from: SystemTime, until: SystemTime) -> Option<Self> {
        let whole = until.duration_since(from).ok()?;
        let issued = from + SKEW.min(whole / 2);
        (from < until).then_some(Self {
            from,
            issued,
            until,
        })
    }

    /// The same of a certificate that was made now.
    pub(crate) fn issued_at(self, now: SystemTime) -> Self {
        Self {
            issued: now.clamp(self.from, self.until),
            ..self
        }
    }

    /// Whether it is to be renewed at a time by the clock, which may have been moved; `chance` is from
    /// 0 to 1.
    pub(crate) fn is_due(self, now: SystemTime, chance: f64) -> bool {
        if now < self.from {
            // It is not valid yet: the clock went back.
            return true;
        }
        let whole = self.until.duration_since(self.issued).unwrap_or_default();
        let share = RENEWED_AFTER - JITTER * chance.clamp(0.0, 1.0);
        let passed = now.duration_since(self.issued).unwrap_or_default();
        passed >= whole.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + hours * 3_600)
    }

    #[test]
    fn a_certificate_is_renewed_when_half_of_its_time_is_over_or_a_little_sooner() {
        let term = Term::between(at(0), at(24)).expect("a term");
        let term = term.issued_at(at(0));
        let minute = Duration::from_secs(60);

        assert!(!term.is_due(at(12) - minute, 0.0));
        assert!(term.is_due(at(12), 0.0));
        assert!(term.is_due(at(10), 1.0));
        assert!(!term.is_due(at(9), 1.0));
    }

    #[test]
    fn a_clock_that_was_moved_renews() {
        let term = Term::between(at(0), at(24)).expect("a term");

        assert!(term.is_due(at(1_000), 0.0));
        assert!(term.is_due(at(0) - Duration::from_secs(1), 0.0));
    }

    #[test]
    fn the_time_before_it_was_made_is_no_part_of_its_time() {
        for seconds in [60, 600] {
            let lifetime = Duration::from_secs(seconds);
            let now = at(1);
            let term = Term::between(now - SKEW, now + lifetime).expect("a term");
            let term = term.issued_at(now);

            for chance in [0.0, 1.0] {
                assert!(!term.is_due(now, chance), "{seconds}");
                assert!(!term.is_due(now + lifetime.mul_f64(0.39), chance));
                assert!(term.is_due(now + lifetime / 2, chance), "{seconds}");
            }
        }
        // Where that was not seen, it is reckoned.
        let lifetime = Duration::from_secs(600);
        let term = Term::between(at(1) - SKEW, at(1) + lifetime).expect("a term");
        assert!(!term.is_due(at(1), 1.0));
        assert!(term.is_due(at(1) + lifetime / 2, 0.0));
    }
}
