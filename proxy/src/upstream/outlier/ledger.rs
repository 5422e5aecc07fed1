//! Who is ejected, for how long, and what is remembered of it. Pure: time and endpoints are given.

use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::{Cause, Detection};

/// The ejections of one destination, by the id of the endpoint. Holds at most one entry for each
/// endpoint that a generation in use has, and none for those that behave.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: FxHashMap<u64, Entry>,
    /// Ejections so far, by cause.
    ejected: [u64; Cause::ALL.len()],
    /// Ejections that the limit did not allow, by cause.
    prevented: [u64; Cause::ALL.len()],
    /// When success rates were last compared.
    compared: Option<Instant>,
    /// Set while the generation in use has no outlier detection: a request of an older one may still
    /// fail, and nobody would end what follows from that.
    closed: bool,
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Ejections in a row, which makes the next one longer; at least 1.
    pub(crate) times: u32,
    pub(crate) state: State,
}

/// Whether an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ejected { cause: Cause, until: Instant },
    Returned { at: Instant },
}

/// What became of an ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The endpoint is ejected for this time.
    Ejected { time: Duration, times: u32 },
    /// As many are ejected as may be.
    Prevented,
    /// It was ejected before, or there is no outlier detection any more.
    Ignored,
}

// === impl Ledger ===

impl Ledger {
    /// Ejects an endpoint, if the limit allows one more of `members` to be.
    pub(crate) fn eject(
        &mut self,
        id: u64,
        cause: Cause,
        rules: &Detection,
        members: impl ExactSizeIterator<Item = u64>,
        now: Instant,
    ) -> Verdict {
        let entry = self.entries.get(&id);
        if self.closed || entry.is_some_and(Entry::is_ejected) {
            return Verdict::Ignored;
        }
        let times = entry.map_or(0, |entry| entry.times_left(rules, now));
        let total = members.len();
        let ejected = members.filter(|id| self.is_ejected(*id)).count();
        if !rules.has_room(ejected, total) {
            self.prevented[cause as usize] += 1;
            return Verdict::Prevented;
        }
        // Once it is as long as it can be more is not remembered, or it would take as long to forget.
        let grows = times == 0 || rules.ejection(times) > rules.ejection(times - 1);
        let times = times + u32::from(grows);
        let time = rules.ejection(times);
        let until = now.checked_add(time).unwrap_or(now);
        let state = State::Ejected { cause, until };
        self.entries.insert(id, Entry { times, state });
        self.ejected[cause as usize] += 1;
        Verdict::Ejected { time, times }
    }

    /// Ends what is over at `now`, and what may not be any more because the members or the limit have
    /// changed: those that would return first do so. Forgets what no longer matters. Returns who is
    /// back.
    ///
    /// Generations share a ledger, so that an endpoint can be ejected that is none of `members`. While
    /// it `is_held` by anybody it stays so for its time, and does not count for the limit: forgotten
    /// here, it would never be back.
    pub(crate) fn tend(
        &mut self,
        rules: &Detection,
        members: impl ExactSizeIterator<Item = u64>,
        is_held: impl Fn(u64) -> bool,
        now: Instant,
    ) -> Vec<u64> {
        self.closed = false;
        if self.entries.is_empty() {
            return Vec::new();
        }
        let allowed = members.len() * rules.ejected_percent_max as usize / 100;
        let known: FxHashSet<u64> = members.collect();
        self.entries.retain(|id, entry| match entry.state {
            State::Ejected { .. } => known.contains(id) || is_held(*id),
            State::Returned { .. } => known.contains(id) && entry.times_left(rules, now) > 0,
        });
        let mut ejected: Vec<(Instant, u64)> = self
            .entries
            .iter()
            .filter_map(|(id, entry)| entry.until().map(|until| (until, *id)))
            .collect();
        ejected.sort_unstable();
        let counted = ejected.iter().filter(|(_, id)| known.contains(id)).count();
        let mut too_many = counted.saturating_sub(allowed);
        ejected.retain(|(until, id)| {
            let is_one_too_many = too_many > 0 && known.contains(id);
            too_many -= usize::from(is_one_too_many);
            is_one_too_many || *until <= now
        });
        let back: Vec<u64> = ejected.into_iter().map(|(_, id)| id).collect();
        for id in &back {
            if !known.contains(id) {
                self.entries.remove(id);
            } else if let Some(entry) = self.entries.get_mut(id) {
                let at = entry.until().map_or(now, |until| until.min(now));
                entry.state = State::Returned { at };
            }
        }
        back
    }

    /// Forgets every endpoint, and ejects none until it is tended again; returns who was ejected.
    pub(crate) fn close(&mut self) -> Vec<u64> {
        self.closed = true;
        let entries = self.entries.drain();
        let ejected = entries.filter(|(_, entry)| entry.is_ejected());
        ejected.map(|(id, _)| id).collect()
    }

    /// Whether another interval is over, at whose end success rates are compared. The first one
    /// begins when this is first asked.
    pub(crate) fn interval_ends(&mut self, interval: Duration, now: Instant) -> bool {
        let began = *self.compared.get_or_insert(now);
        let ends = now.saturating_duration_since(began) >= interval;
        if ends {
            self.compared = Some(now);
        }
        ends
    }

    /// What is known of an endpoint.
    pub(crate) fn entry(&self, id: u64) -> Option<Entry> {
        self.entries.get(&id).copied()
    }

    /// Ejections so far, and those that the limit did not allow.
    pub(crate) fn counts(&self, cause: Cause) -> (u64, u64) {
        (self.ejected[cause as usize], self.prevented[cause as usize])
    }

    fn is_ejected(&self, id: u64) -> bool {
        self.entries.get(&id).is_some_and(Entry::is_ejected)
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn is_ejected(&self) -> bool {
        self.until().is_some()
    }

    fn until(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { until, .. } => Some(until),
            State::Returned { .. } => None,
        }
    }

    /// Ejections that still count at `now`: each interval since the return forgets one.
    pub(crate) fn times_left(&self, rules: &Detection, now: Instant) -> u32 {
        match self.state {
            State::Ejected { .. } => self.times,
            State::Returned { at } => {
                let interval = rules.interval.as_nanos().max(1);
                let passed = now.saturating_duration_since(at).as_nanos() / interval;
                let passed = u32::try_from(passed).unwrap_or(u32::MAX);
                self.times.saturating_sub(passed)
            }
        }
    }
}

#[cfg(test)]
mod tests;
