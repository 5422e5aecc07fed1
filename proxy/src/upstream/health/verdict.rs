//! From results of checks to whether an endpoint takes requests. Pure.

use config::annotation::HealthCheck;

use super::Checked;

/// What the results so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Nothing before the first result.
    passing: Option<bool>,
    /// Results in a row that speak against it.
    against: u32,
}

// === impl Verdict ===

impl Verdict {
    /// What was known before these checks began.
    pub(super) fn after(checked: Option<&Checked>) -> Self {
        Self {
            passing: checked.map(|checked| checked.passing),
            against: 0,
        }
    }

    /// Takes in a result; returns what the endpoint is from now on, if that is news. The first one
    /// decides alone: an endpoint that begins with a failure is not there yet.
    pub(super) fn note(&mut self, passed: bool, check: &HealthCheck) -> Option<bool> {
        let enough = match self.passing {
            None => 1,
            Some(true) => check.unhealthy,
            Some(false) => check.healthy,
        };
        if self.passing == Some(passed) {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < enough {
            return None;
        }
        *self = Self {
            passing: Some(passed),
            against: 0,
        };
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> HealthCheck {
        "tcp;unhealthy=3;healthy=2".parse().expect("a legal check")
    }

    fn news(verdict: &mut Verdict, results: &[bool]) -> Vec<Option<bool>> {
        let check = check();
        let note = |passed: &bool| verdict.note(*passed, &check);
        results.iter().map(note).collect()
    }

    #[test]
    fn the_first_result_decides_alone() {
        for first in [true, false] {
            let mut verdict = Verdict::after(None);
            assert_eq!(news(&mut verdict, &[first, first]), [Some(first), None]);
        }
    }

    #[test]
    fn later_results_decide_when_there_are_enough_in_a_row() {
        let mut verdict = Verdict::after(None);
        news(&mut verdict, &[true]);

        let failing = news(&mut verdict, &[false, false, true, false, false, false]);
        assert_eq!(failing, [None, None, None, None, None, Some(false)]);

        let passing = news(&mut verdict, &[true, false, true, true]);
        assert_eq!(passing, [None, None, None, Some(true)]);
    }

    #[test]
    fn other_checks_go_on_from_what_the_ones_before_said() {
        let checked = Checked {
            passing: true,
            since: tokio::time::Instant::now(),
            last_error: None,
        };
        let mut verdict = Verdict::after(Some(&checked));

        assert_eq!(news(&mut verdict, &[false, false]), [None, None]);
        assert_eq!(news(&mut verdict, &[false]), [Some(false)]);
    }
}
