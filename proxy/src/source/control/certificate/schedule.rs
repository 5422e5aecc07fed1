//! When a certificate is renewed. No IO; time and chance are arguments.

use std::time::SystemTime;

use crate::tls::facts::CertificateFacts;

/// Part of its time after which a certificate is renewed at the latest.
const RENEWED_AFTER: f64 = 0.5;
/// Part of its time by which chance has it renewed sooner, so that not all ask at the same time.
const JITTER: f64 = 0.1;

/// The time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    from: SystemTime,
    until: SystemTime,
}

// === impl Term ===

impl Term {
    /// What a certificate says; none if there is no time between.
    pub(crate) fn of(certificate: Option<&CertificateFacts>) -> Option<Self> {
        let certificate = certificate?;
        let (from, until) = (certificate.not_before, certificate.not_after);
        (from < until).then_some(Self { from, until })
    }

    /// Whether it is to be renewed at a time by the clock, which may have been moved; `chance` is from
    /// 0 to 1.
    pub(crate) fn is_due(self, now: SystemTime, chance: f64) -> bool {
        let whole = self.until.duration_since(self.from).unwrap_or_default();
        let share = RENEWED_AFTER - JITTER * chance.clamp(0.0, 1.0);
        match now.duration_since(self.from) {
            Ok(passed) => passed >= whole.mul_f64(share),
            // It is not valid yet: the clock went back.
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + hours * 3_600)
    }

    #[test]
    fn a_certificate_is_renewed_when_half_of_its_time_is_over_or_a_little_sooner() {
        let term = Term {
            from: at(0),
            until: at(24),
        };
        let minute = Duration::from_secs(60);

        assert!(!term.is_due(at(12) - minute, 0.0));
        assert!(term.is_due(at(12), 0.0));
        assert!(term.is_due(at(10), 1.0));
        assert!(!term.is_due(at(9), 1.0));
    }

    #[test]
    fn a_clock_that_was_moved_renews() {
        let term = Term {
            from: at(0),
            until: at(24),
        };

        assert!(term.is_due(at(1_000), 0.0));
        assert!(term.is_due(at(0) - Duration::from_secs(1), 0.0));
    }
}
