//! Which conditions are written next, within limits. Pure: the time is an argument.
//!
//! What is known of a resource changes with every proxy that comes and goes; the API server must not be
//! asked to keep up with that. So only so many are written in a second, each of them not often. Those go
//! first that were never written, of them those that somebody should look at; then those whose last
//! attempt is longest ago, so that what changes all the time keeps nothing else from being written.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::time::Duration;

use config::wire::Name;
use rustc_hash::{FxBuildHasher, FxHashMap};
use tokio::time::Instant;

use crate::status::ResourceStatus;
use crate::status::condition::{Condition, wanted};

/// Most resources that are looked at or written in one round.
pub(super) const WRITES_PER_ROUND_MAX: usize = 20;
/// How long the conditions of a resource stay as they were written at least.
const REST: Duration = Duration::from_secs(5);
/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(15);

/// What was written so far.
#[derive(Debug, Default)]
pub(super) struct Plan {
    written: FxHashMap<Name, Written>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    /// Of what was written; none if the last attempt failed.
    content: Option<u64>,
    /// When it was tried last.
    at: Instant,
    next: Instant,
}

/// One resource to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) status: ResourceStatus,
    pub(super) conditions: [Condition; 3],
    content: u64,
}

// === impl Plan ===

impl Plan {
    /// What is to be written now. What is not known any more is forgotten.
    pub(super) fn due(&mut self, statuses: Vec<ResourceStatus>, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        let mut written = FxHashMap::default();
        for status in statuses {
            let conditions = wanted(&status);
            let content = content(&status, &conditions);
            let before = self.written.get(&status.name);
            if let Some(before) = before {
                written.insert(status.name.clone(), *before);
            }
            let rests = before.is_some_and(|it| it.content == Some(content) || it.next > now);
            if !rests {
                due.push(Due {
                    status,
                    conditions,
                    content,
                });
            }
        }
        self.written = written;
        due.sort_by_key(|it| {
            let before = self.written.get(&it.status.name);
            (before.map(|it| it.at), !it.status.is_troubled())
        });
        due.truncate(WRITES_PER_ROUND_MAX);
        due
    }

    /// It says this now.
    pub(super) fn wrote(&mut self, due: &Due, now: Instant) {
        self.note(due, Some(due.content), now, REST);
    }

    /// It could not be written.
    pub(super) fn failed(&mut self, due: &Due, now: Instant) {
        self.note(due, None, now, RETRY);
    }

    fn note(&mut self, due: &Due, content: Option<u64>, at: Instant, rest: Duration) {
        let name = due.status.name.clone();
        let next = at + rest;
        self.written.insert(name, Written { content, at, next });
    }
}

/// What tells what would be written from what was.
fn content(status: &ResourceStatus, conditions: &[Condition; 3]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    // Another version may be of another generation of the object, which is written, too.
    status.version.hash(&mut hasher);
    for condition in conditions {
        condition.holds.hash(&mut hasher);
        condition.reason.hash(&mut hasher);
        condition.message.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, acknowledged: usize) -> ResourceStatus {
        ResourceStatus {
            name: Name::new("Gateway", "shop", name),
            version: Some("1".into()),
            accepted: true,
            reasons: Vec::new(),
            conflicts: Vec::new(),
            proxies: 9,
            acknowledged,
            rejected: Vec::new(),
        }
    }

    /// Writes all that is due, and says which.
    fn written(plan: &mut Plan, statuses: &[ResourceStatus], now: Instant) -> Vec<String> {
        let due = plan.due(statuses.to_vec(), now);
        due.iter().for_each(|it| plan.wrote(it, now));
        due.iter()
            .map(|it| it.status.name.name.to_string())
            .collect()
    }

    #[test]
    fn what_did_not_change_is_written_once_and_what_does_rests_between() {
        let start = Instant::now();
        let mut plan = Plan::default();
        let at = |seconds| start + Duration::from_secs(seconds);

        assert_eq!(written(&mut plan, &[status("a", 1)], start), ["a"]);
        assert_eq!(written(&mut plan, &[status("a", 1)], at(60)), [""; 0]);
        assert_eq!(written(&mut plan, &[status("a", 2)], at(61)), ["a"]);
        assert_eq!(written(&mut plan, &[status("a", 3)], at(63)), [""; 0]);
        assert_eq!(written(&mut plan, &[status("a", 4)], at(66)), ["a"]);
    }

    #[test]
    fn a_failed_write_is_tried_again_later() {
        let start = Instant::now();
        let mut plan = Plan::default();
        let due = plan.due(vec![status("a", 1)], start);

        plan.failed(&due[0], start);

        let soon = start + Duration::from_secs(14);
        let later = start + Duration::from_secs(15);
        assert_eq!(plan.due(vec![status("a", 1)], soon), []);
        assert_eq!(written(&mut plan, &[status("a", 1)], later), ["a"]);
    }

    #[test]
    fn what_is_in_trouble_goes_first_and_no_round_writes_more_than_its_share() {
        let now = Instant::now();
        let mut plan = Plan::default();
        let name = |number| format!("g{number}");
        let mut statuses: Vec<_> = (0..50).map(|it| status(&name(it), 9)).collect();
        statuses[49].accepted = false;

        let first = written(&mut plan, &statuses, now);
        let second = written(&mut plan, &statuses, now);

        assert_eq!(first.len(), WRITES_PER_ROUND_MAX);
        assert_eq!(first[0], "g49");
        assert!(first.iter().all(|it| !second.contains(it)));
    }

    #[test]
    fn what_changes_all_the_time_keeps_nothing_else_from_being_written() {
        let start = Instant::now();
        let mut plan = Plan::default();
        let busy = 5 * WRITES_PER_ROUND_MAX + 50;
        let mut seen = std::collections::BTreeSet::new();

        for round in 0..20 {
            // All are in trouble but the last by name, and all change before each round.
            let statuses = (0..busy).map(|number| ResourceStatus {
                accepted: number + 1 == busy,
                ..status(&format!("g{number:03}"), round)
            });
            let statuses: Vec<_> = statuses.collect();
            let now = start + Duration::from_secs(round as u64);
            seen.extend(written(&mut plan, &statuses, now));
        }

        assert_eq!(seen.len(), busy);
    }

    #[test]
    fn what_is_gone_and_comes_back_is_written_again() {
        let now = Instant::now();
        let mut plan = Plan::default();
        written(&mut plan, &[status("a", 1)], now);

        assert_eq!(plan.due(Vec::new(), now), []);

        assert_eq!(written(&mut plan, &[status("a", 1)], now), ["a"]);
    }
}
