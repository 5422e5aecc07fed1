//! Which name is looked up when, and what is known of it meanwhile. No IO; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::dns::Update;

/// Shortest time between two lookups of a name, whatever its lifetime says.
pub(super) const REFRESH_MIN: Duration = Duration::from_secs(1);
/// Longest time between two lookups of a name.
pub(super) const REFRESH_MAX: Duration = Duration::from_secs(3_600);
/// Wait after the first failure; doubles with each that follows.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait between two attempts while they fail.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a lookup said, by family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) v4: Family,
    pub(super) v6: Family,
}

/// What a lookup said about one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Family {
    /// The addresses, which may be none, and for how long they hold.
    Known {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// No usable answer.
    Failed,
}

/// All wanted names.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    names: BTreeMap<Arc<str>, Name>,
    /// Names by the time of their next lookup; without those whose lookup is under way.
    due: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Name {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    /// What was told last; nothing before the first good answer.
    told: Option<Vec<IpAddr>>,
    /// Lookups in a row in which a family failed.
    failures: u32,
    due: Option<Instant>,
}

// === impl Answer ===

impl Answer {
    /// No usable answer for either family.
    pub(super) const FAILED: Self = Self {
        v4: Family::Failed,
        v6: Family::Failed,
    };

    /// Whether one of the families has no usable answer.
    pub(super) fn is_failure(&self) -> bool {
        self.v4 == Family::Failed || self.v6 == Family::Failed
    }
}

// === impl Schedule ===

impl Schedule {
    /// Adds names that are new, due at once, and forgets those that are not in `wanted`.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Arc<str>>, now: Instant) {
        let due = &mut self.due;
        self.names.retain(|name, state| {
            let keep = wanted.contains(name);
            if let Some(at) = state.due.filter(|_| !keep) {
                due.remove(&(at, Arc::clone(name)));
            }
            keep
        });
        for name in wanted {
            if !self.names.contains_key(name) {
                self.names.insert(
                    Arc::clone(name),
                    Name {
                        due: Some(now),
                        ..Name::default()
                    },
                );
                self.due.insert((now, Arc::clone(name)));
            }
        }
    }

    /// When the next lookup is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes a name whose lookup is due; it is not due again before [`Self::finish`].
    pub(super) fn start(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.due()? > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        if let Some(state) = self.names.get_mut(&name) {
            state.due = None;
        }
        Some(name)
    }

    /// Notes the answer for a name and when to ask again; returns what is to be told, if that is
    /// news. The answer for a name that is not wanted any more is dropped.
    pub(super) fn finish(
        &mut self,
        name: &Arc<str>,
        answer: Answer,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Update> {
        let state = self.names.get_mut(name)?;
        let next = now + state.take(answer, rng);
        if state.failures == 1 {
            tracing::info!(
                name = &**name,
                "host name not resolved, its last good addresses stay"
            );
        }
        // Forgotten and wanted again meanwhile, the name may be due already.
        if let Some(at) = state.due.replace(next) {
            self.due.remove(&(at, Arc::clone(name)));
        }
        self.due.insert((next, Arc::clone(name)));
        state.news().map(|addresses| Update {
            name: Arc::clone(name),
            addresses,
        })
    }
}

// === impl Name ===

impl Name {
    /// Takes over what is known; returns how long to wait before the next lookup.
    fn take(&mut self, answer: Answer, rng: &mut fastrand::Rng) -> Duration {
        let mut wait = REFRESH_MAX;
        let mut failed = false;
        let families = [(&mut self.v4, answer.v4), (&mut self.v6, answer.v6)];
        let found = |family: &Family| matches!(family, Family::Known { addresses, .. } if !addresses.is_empty());
        let any = families.iter().any(|(_, family)| found(family));
        for (addresses, family) in families {
            // The family that a name does not have says nothing about how soon it changes.
            let counts = !any || found(&family);
            match family {
                Family::Known {
                    addresses: new,
                    ttl,
                } => {
                    *addresses = new;
                    if counts {
                        wait = wait.min(ttl);
                    }
                }
                Family::Failed => failed = true,
            }
        }
        self.failures = if failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        if failed {
            wait = wait.min(backoff(self.failures, rng));
        }
        wait.clamp(REFRESH_MIN, REFRESH_MAX)
    }

    /// The addresses, if they are others than those told last. Before the first good answer there
    /// is nothing to tell: no addresses yet is not the same as none.
    fn news(&mut self) -> Option<Vec<IpAddr>> {
        let mut addresses = [&self.v4[..], &self.v6[..]].concat();
        addresses.sort_unstable();
        addresses.dedup();
        let unanswered = self.told.is_none() && self.failures > 0 && addresses.is_empty();
        if unanswered || self.told.as_ref() == Some(&addresses) {
            return None;
        }
        self.told = Some(addresses.clone());
        Some(addresses)
    }
}

/// The wait after so many failures in a row: between half and all of a time that doubles, so that
/// proxies that lost their name server at the same time do not all come back at the same time.
fn backoff(failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let most = doubled.min(RETRY_MAX);
    most.mul_f64(0.5 + rng.f64() / 2.0).max(RETRY_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "10.0.0.1";
    const V6: &str = "fd00::1";

    fn known(addresses: &[&str], ttl_secs: u64) -> Family {
        let addresses = addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        Family::Known {
            addresses,
            ttl: Duration::from_secs(ttl_secs),
        }
    }

    fn both(v4: Family, v6: Family) -> Answer {
        Answer { v4, v6 }
    }

    fn wanted(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// Runs answers for one name, each when it is due; returns per answer what was told and the
    /// time until the next lookup.
    fn run(answers: Vec<Answer>) -> Vec<(Option<Vec<String>>, Duration)> {
        let (mut schedule, mut rng) = (Schedule::default(), fastrand::Rng::with_seed(1));
        let mut now = Instant::now();
        schedule.want(&wanted(&["a"]), now);
        let mut step = |answer| {
            now = schedule.due().expect("due");
            let name = schedule.start(now).expect("due now");
            let told = schedule.finish(&name, answer, now, &mut rng);
            let told = told.map(|update| update.addresses.iter().map(IpAddr::to_string).collect());
            (told, schedule.due().expect("due again") - now)
        };
        answers.into_iter().map(&mut step).collect()
    }

    fn told(answers: Vec<Answer>) -> Vec<Option<Vec<String>>> {
        run(answers).into_iter().map(|(told, _)| told).collect()
    }

    fn waits(answers: Vec<Answer>) -> Vec<u64> {
        run(answers)
            .into_iter()
            .map(|(_, wait)| wait.as_secs())
            .collect()
    }

    #[test]
    fn both_families_are_told_together_sorted_and_once() {
        let answer = both(known(&["10.0.0.2", V4, V4], 5), known(&[V6], 5));

        let told = told(vec![answer.clone(), answer]);

        assert_eq!(
            told,
            [Some(vec![V4.into(), "10.0.0.2".into(), V6.into()]), None]
        );
    }

    #[test]
    fn the_shortest_lifetime_counts_within_bounds() {
        for (v4, v6, expected) in [
            (known(&[V4], 30), known(&[V6], 20), 20),
            (known(&[V4], 0), known(&[V6], 20), 1),
            (known(&[V4], 86_400), known(&[], 86_400), 3_600),
            (known(&[V4], 30), known(&[], 5), 30),
            (known(&[], 30), known(&[], 5), 5),
        ] {
            assert_eq!(
                waits(vec![both(v4.clone(), v6.clone())]),
                [expected],
                "{v4:?} {v6:?}"
            );
        }
    }

    #[test]
    fn failures_keep_the_last_good_addresses() {
        let good = both(known(&[V4], 5), known(&[V6], 5));
        let failed = both(Family::Failed, Family::Failed);
        let half = both(known(&["10.0.0.9"], 5), Family::Failed);

        let told = told(vec![good, failed, half]);

        let half = vec!["10.0.0.9".into(), V6.into()];
        assert_eq!(told, [Some(vec![V4.into(), V6.into()]), None, Some(half)]);
    }

    #[test]
    fn a_real_answer_without_addresses_is_told() {
        let good = both(known(&[V4], 5), known(&[], 5));
        let none = both(known(&[], 5), known(&[], 5));

        assert_eq!(
            told(vec![good, none.clone()]),
            [Some(vec![V4.into()]), Some(vec![])]
        );
        assert_eq!(told(vec![none.clone(), none]), [Some(vec![]), None]);
    }

    #[test]
    fn nothing_is_told_before_the_first_answer() {
        let failed = both(Family::Failed, Family::Failed);

        assert_eq!(told(vec![failed.clone(), failed]), [None, None]);
    }

    #[test]
    fn failures_are_retried_ever_later_and_a_success_begins_anew() {
        let failed = both(Family::Failed, Family::Failed);
        let mut answers = vec![failed.clone(); 40];
        answers.push(both(known(&[V4], 5), known(&[], 5)));
        answers.push(failed);

        let waits = run(answers);

        for (at, (_, wait)) in waits.iter().take(40).enumerate() {
            let most = Duration::from_secs(1 << at.min(6)).min(RETRY_MAX);
            assert!(
                *wait <= most && *wait >= (most / 2).max(RETRY_MIN),
                "{at}: {wait:?}"
            );
        }
        assert_eq!(waits[40].1, Duration::from_secs(5));
        assert_eq!(waits[41].1, RETRY_MIN);
    }

    #[test]
    fn a_family_that_keeps_failing_does_not_delay_the_other() {
        let half = both(known(&[V4], 5), Family::Failed);

        let waits = waits(vec![half; 10]);

        assert!(waits.iter().all(|wait| *wait <= 5), "{waits:?}");
    }

    #[test]
    fn names_that_are_not_wanted_any_more_are_forgotten() {
        let (mut schedule, mut rng) = (Schedule::default(), fastrand::Rng::with_seed(1));
        let now = Instant::now();
        let answer = || both(known(&[V4], 5), known(&[], 5));
        schedule.want(&wanted(&["a", "b"]), now);
        let a = schedule.start(now).expect("due");

        schedule.want(&wanted(&["c"]), now);

        assert_eq!(
            schedule.finish(&a, answer(), now, &mut rng),
            None,
            "answered too late"
        );
        assert_eq!(schedule.start(now).as_deref(), Some("c"));
        assert_eq!(schedule.due(), None, "b went with its due time");
    }

    #[test]
    fn a_name_that_comes_back_while_it_is_looked_up_has_one_due_time() {
        let (mut schedule, mut rng) = (Schedule::default(), fastrand::Rng::with_seed(1));
        let now = Instant::now();
        schedule.want(&wanted(&["a"]), now);
        let a = schedule.start(now).expect("due");
        schedule.want(&wanted(&[]), now);
        schedule.want(&wanted(&["a"]), now);

        let update = schedule.finish(&a, both(known(&[V4], 5), known(&[], 5)), now, &mut rng);

        assert!(update.is_some(), "the answer is as good as a new one");
        assert_eq!(schedule.due(), Some(now + Duration::from_secs(5)));
        assert_eq!(schedule.due.len(), 1);
    }
}
