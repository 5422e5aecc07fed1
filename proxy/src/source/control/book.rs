//! What this proxy demands: which demands are subscribed, what they were answered, and which of them
//! are given up. No IO; time is an argument.
//!
//! Names that nobody has are forgotten sooner and kept in smaller numbers, so that whoever makes up
//! names cannot push out those that are used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::wire::Demand;
use tokio::time::Instant;

use crate::demand::{Answer, Answered, PENDING_MAX};

/// Most demands at a time.
pub(super) const DEMANDS_MAX: usize = 4_096;
/// Most of them for what the mesh does not have.
const UNKNOWN_MAX: usize = 512;
/// Most of them for what it has.
const FOUND_MAX: usize = DEMANDS_MAX - UNKNOWN_MAX - PENDING_MAX;
/// Demands that nobody used for this long are given up.
const FOUND_UNUSED_MAX: Duration = Duration::from_secs(600);
/// The same for what the mesh does not have.
const UNKNOWN_UNUSED_MAX: Duration = Duration::from_secs(120);
/// Time between two looks at what was used.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// All demands.
#[derive(Debug, Default)]
pub(super) struct Book {
    demands: BTreeMap<Demand, Entry>,
    /// The answers as they are published, until one changes.
    published: Option<Arc<Answered>>,
}

#[derive(Debug)]
struct Entry {
    answer: Option<Arc<Answer>>,
    /// When it was last seen to have been used.
    used: Instant,
}

/// How many demands there are, by what was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) found: usize,
    pub(super) unknown: usize,
    pub(super) pending: usize,
}

// === impl Book ===

impl Book {
    /// Adds a demand; says whether it is new.
    pub(super) fn add(&mut self, demand: Demand, now: Instant) -> bool {
        let mut is_new = false;
        let entry = self.demands.entry(demand).or_insert_with(|| {
            is_new = true;
            Entry {
                answer: None,
                used: now,
            }
        });
        entry.used = now;
        is_new
    }

    /// Adds a demand that was answered, as it is known from before.
    pub(super) fn restore(&mut self, demand: Demand, found: bool, now: Instant) {
        if self.demands.len() < DEMANDS_MAX {
            self.add(demand.clone(), now);
            self.answer(&demand, found);
        }
    }

    /// Notes an answer; says whether it is another than before.
    pub(super) fn answer(&mut self, demand: &Demand, found: bool) -> bool {
        let Some(entry) = self.demands.get_mut(demand) else {
            return false;
        };
        if entry.answer.as_ref().is_some_and(|it| it.found == found) {
            return false;
        }
        entry.answer = Some(Arc::new(Answer {
            found,
            ..Answer::default()
        }));
        self.published = None;
        true
    }

    /// Gives up what was not used for long, and what is too much; `used` says whether what was found was
    /// used since the last call. What is not `in_use` yet stays: somebody waits for it.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        in_use: &Answered,
        used: impl Fn(&Demand) -> bool,
    ) -> Vec<Demand> {
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        let (mut found_max, mut unknown_max) = (FOUND_MAX, UNKNOWN_MAX);
        let mut given_up = Vec::new();
        for (demand, entry) in &mut self.demands {
            let Some(answer) = &entry.answer else {
                continue;
            };
            if !in_use.has(demand) {
                // It takes the place of one that is in use.
                let max = match answer.found {
                    true => &mut found_max,
                    false => &mut unknown_max,
                };
                *max = max.saturating_sub(1);
                continue;
            }
            if answer.used.is_noted() || (answer.found && used(demand)) {
                answer.used.forget();
                entry.used = now;
            }
            let (unused_max, kept) = match answer.found {
                true => (FOUND_UNUSED_MAX, &mut found),
                false => (UNKNOWN_UNUSED_MAX, &mut unknown),
            };
            match now.saturating_duration_since(entry.used) > unused_max {
                true => given_up.push(demand.clone()),
                false => kept.push((entry.used, demand.clone())),
            }
        }
        given_up.extend(beyond(found, found_max));
        given_up.extend(beyond(unknown, unknown_max));
        for demand in &given_up {
            self.demands.remove(demand);
            self.published = None;
        }
        given_up
    }

    /// Whether there is more than may be kept until the next sweep.
    pub(super) fn is_full(&self) -> bool {
        let Count { found, unknown, .. } = self.count();
        found > FOUND_MAX || unknown > UNKNOWN_MAX
    }

    /// Every demand with its answer, if there is one.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Demand, Option<bool>)> {
        let demands = self.demands.iter();
        demands.map(|(demand, entry)| (demand, entry.answer.as_ref().map(|it| it.found)))
    }

    /// How many there are.
    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        for (_, answer) in self.iter() {
            match answer {
                Some(true) => count.found += 1,
                Some(false) => count.unknown += 1,
                None => count.pending += 1,
            }
        }
        count
    }

    /// All answers; the same object while none changes.
    pub(super) fn answered(&mut self) -> Arc<Answered> {
        let demands = &self.demands;
        let published = self.published.get_or_insert_with(|| {
            let answered = demands.iter();
            let answered = answered.filter_map(|(demand, it)| Some((demand, it.answer.as_ref()?)));
            Arc::new(Answered::new(answered))
        });
        Arc::clone(published)
    }
}

/// Those that were used least recently, beyond a number.
fn beyond(mut demands: Vec<(Instant, Demand)>, max: usize) -> impl Iterator<Item = Demand> {
    let surplus = demands.len().saturating_sub(max);
    demands.sort();
    demands.truncate(surplus);
    demands.into_iter().map(|(_, demand)| demand)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Demand {
        Demand::host(name).expect("a name")
    }

    fn names(demands: &[Demand]) -> Vec<String> {
        demands.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_used_is_given_up_and_what_nobody_has_sooner() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut book = Book::default();
        for (name, found) in [("used", true), ("unused", true), ("made-up", false)] {
            assert!(book.add(host(name), start));
            assert!(book.answer(&host(name), found));
        }
        book.add(host("pending"), start);
        let in_use = book.answered();
        let used = |demand: &Demand| *demand == host("used");

        assert_eq!(names(&book.sweep(at(120), &in_use, used)), [""; 0]);
        assert_eq!(names(&book.sweep(at(121), &in_use, used)), ["host:made-up"]);
        assert_eq!(names(&book.sweep(at(600), &in_use, used)), [""; 0]);
        assert_eq!(names(&book.sweep(at(601), &in_use, used)), ["host:unused"]);
        assert_eq!(
            book.count(),
            Count {
                found: 1,
                unknown: 0,
                pending: 1
            }
        );
    }

    #[test]
    fn made_up_names_push_out_each_other_and_nothing_else() {
        let start = Instant::now();
        let mut book = Book::default();
        book.add(host("real"), start);
        book.answer(&host("real"), true);
        for number in 0..UNKNOWN_MAX + 2 {
            let name = host(&format!("made-up-{number:04}"));
            book.add(name.clone(), start + Duration::from_millis(number as u64));
            book.answer(&name, false);
        }
        assert!(book.is_full());

        let in_use = book.answered();
        let given_up = book.sweep(start + Duration::from_secs(1), &in_use, |_| false);

        assert_eq!(names(&given_up), ["host:made-up-0000", "host:made-up-0001"]);
        assert!(!book.is_full());
    }

    #[test]
    fn an_answer_that_somebody_waits_for_is_not_given_up_for_those_that_are_used() {
        let start = Instant::now();
        let mut book = Book::default();
        for number in 0..UNKNOWN_MAX {
            let name = host(&format!("made-up-{number:04}"));
            book.add(name.clone(), start);
            book.answer(&name, false);
        }
        let in_use = book.answered();
        for number in 0..UNKNOWN_MAX {
            in_use.note(&host(&format!("made-up-{number:04}")));
        }
        book.add(host("new"), start);
        book.answer(&host("new"), false);
        assert!(book.is_full());

        let given_up = book.sweep(start + Duration::from_secs(1), &in_use, |_| false);

        assert_eq!(names(&given_up), ["host:made-up-0000"]);
        assert!(book.answered().has(&host("new")));
        assert!(!book.is_full());
    }

    #[test]
    fn answers_are_published_anew_only_when_one_changes() {
        let now = Instant::now();
        let mut book = Book::default();
        book.add(host("a"), now);
        assert!(book.answer(&host("a"), false));
        assert!(!book.answer(&host("stranger"), true), "nobody asked");
        let first = book.answered();

        assert!(!book.answer(&host("a"), false));
        assert!(Arc::ptr_eq(&first, &book.answered()));
        assert!(book.answer(&host("a"), true));
        assert!(!Arc::ptr_eq(&first, &book.answered()));
    }
}
