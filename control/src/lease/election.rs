//! Whose the lease is and what to do about it; pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Timing;

/// Longest duration that is believed: a lease that says more would lock everybody out.
const DURATION_MAX: Duration = Duration::from_secs(120);

/// The lease as one contender sees it.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
    /// When the last write that made or kept it ours was begun.
    renewed: Option<Instant>,
}

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty if it was handed back.
    pub(super) holder: String,
    /// How long it holds unless it is renewed.
    pub(super) duration: Duration,
    /// How often the holder changed.
    pub(super) transitions: i32,
    /// What the API server calls this state of it.
    pub(super) version: String,
}

#[derive(Debug)]
struct Seen {
    record: Record,
    /// When it was first seen to say this.
    since: Instant,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is somebody else's.
    Wait,
    /// There is none.
    Create,
    /// It is ours already, or free: write that it is ours, if nobody was faster.
    Take {
        /// How often the holder has changed then.
        transitions: i32,
    },
}

// === impl Election ===

impl Election {
    pub(super) fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// Takes note of what the lease says; `now` is after the answer.
    pub(super) fn observe(&mut self, record: Option<Record>, now: Instant) {
        let Some(record) = record else {
            self.seen = None;
            self.renewed = None;
            return;
        };
        if record.holder != self.identity {
            self.renewed = None;
        }
        if self.seen.as_ref().is_none_or(|seen| seen.record != record) {
            self.seen = Some(Seen { record, since: now });
        }
    }

    pub(super) fn step(&self, now: Instant) -> Step {
        let Some(Seen { record, since }) = &self.seen else {
            return Step::Create;
        };
        let is_ours = record.holder == self.identity;
        let is_free = record.holder.is_empty();
        let expires = *since + record.duration.min(DURATION_MAX);
        if !is_ours && !is_free && now < expires {
            return Step::Wait;
        }
        let transitions = record.transitions.saturating_add(i32::from(!is_ours));
        Step::Take { transitions }
    }

    /// The lease was written and says `record`; the write was begun at `begun`.
    pub(super) fn wrote(&mut self, record: Record, begun: Instant) {
        self.seen = Some(Seen {
            record,
            since: begun,
        });
        self.renewed = Some(begun);
    }

    /// Somebody else wrote the lease.
    pub(super) fn defeated(&mut self) {
        self.renewed = None;
    }

    /// Until when it is surely ours. It ends before anybody else may take it: they wait longer, from a
    /// time that is later.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.renew)
    }

    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until().is_some_and(|end| now < end)
    }

    /// Gives up; what the lease says if it is to be handed back.
    pub(super) fn step_down(&mut self) -> Option<Record> {
        self.renewed.take()?;
        self.seen.take().map(|seen| seen.record)
    }
}

#[cfg(test)]
mod tests;
