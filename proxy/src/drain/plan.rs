//! In which order a proxy stops, and until when. A function of time and of what is still going on; the
//! control thread acts on what it says.
//!
//! Callers of the workload are told first: their next requests go elsewhere, and for a while
//! ([`Times::minimum`]) those are still served who have not heard yet that this workload is leaving.
//! The workload's own connections stay until it is gone, because what it finishes may need others:
//! until nobody calls it any more, and it has no connection left and opened none for [`QUIET`].

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{Loads, Scope};

/// How long the workload must not have had any connection to be taken for gone.
pub const QUIET: Duration = Duration::from_secs(1);
/// How long what was cut at the deadline is waited for: it has only to be dropped.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Times of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From its beginning until what is left is cut.
    pub timeout: Duration,
    /// For how long new inbound connections are served all the same.
    pub minimum: Duration,
    /// Whether the proxy ends as soon as nothing is left, and not at the deadline.
    pub ends_when_idle: bool,
}

/// How listeners stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Inbound ones serve for a while, outbound ones until the workload is gone.
    Orderly,
    /// They take no more connections; those that are open end after the request they are in.
    Now,
}

/// How far the listeners of one direction are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// They serve.
    #[default]
    Serving,
    /// They serve, and tell whom they serve to go elsewhere.
    Telling,
    /// They serve for as long as the workload is there.
    Lingering,
    /// They take no more connections.
    Closing,
    /// Nothing is left.
    Ended,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell connections to end after the request they are in.
    Tell(Scope),
    /// The same, and take no more.
    Close(Scope),
    /// End what is left, so many connections.
    Cut(Scope, usize),
    /// Exit: nothing is left, or its time is over.
    Exit,
}

/// How far a proxy is with stopping.
#[derive(Debug)]
pub struct Plan {
    inbound: Lane,
    outbound: Lane,
    /// Whether the proxy exits at the end.
    exits: bool,
    times: Times,
    /// When what is left is cut.
    deadline: Option<Instant>,
}

/// The listeners of one direction.
#[derive(Debug)]
struct Lane {
    scope: Scope,
    phase: Phase,
    /// When the phase began, or for [`Phase::Lingering`] when there last was a connection.
    since: Instant,
    /// Connections that were taken when that was looked at.
    taken: u64,
    /// What was left was cut.
    cut: bool,
}

/// What is shown of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    /// Listeners for callers of the workload, and gateways.
    pub inbound: Phase,
    /// Listeners for the workload itself.
    pub outbound: Phase,
    /// Whether the proxy exits at the end.
    pub exits: bool,
    /// When what is left is cut.
    pub deadline: Option<Instant>,
}

// === impl Plan ===

impl Plan {
    /// Nothing stops yet.
    pub fn new(now: Instant, times: Times) -> Self {
        Self {
            inbound: Lane::new(Scope::Inbound, now),
            outbound: Lane::new(Scope::Outbound, now),
            exits: false,
            times,
            deadline: None,
        }
    }

    /// Begins to stop the listeners of `scope`, and with `exits` the proxy. What stops already goes on
    /// doing so, or gets faster.
    pub fn begin(
        &mut self,
        now: Instant,
        scope: Scope,
        manner: Manner,
        exits: bool,
    ) -> Vec<Action> {
        // What begins to stop has the whole time, whatever stopped before.
        let lanes = [&self.inbound, &self.outbound].into_iter();
        let is_new = lanes
            .filter(|lane| scope.with(lane.scope) == scope)
            .any(|lane| lane.phase == Phase::Serving);
        if self.deadline.is_none() || is_new || exits && !self.exits {
            self.deadline = now.checked_add(self.times.timeout);
        }
        self.exits |= exits;
        let minimum = self.times.minimum;
        let lanes = [&mut self.inbound, &mut self.outbound].into_iter();
        lanes
            .filter(|lane| scope.with(lane.scope) == scope)
            .filter_map(|lane| lane.begin(now, manner, minimum))
            .collect()
    }

    /// Takes other times for what begins from now on.
    pub fn retime(&mut self, times: Times) {
        if self.deadline.is_none() {
            self.times = times;
        }
    }

    /// What is to be done at this moment, with what is going on.
    pub fn look(&mut self, now: Instant, loads: &Loads) -> Vec<Action> {
        let Some(deadline) = self.deadline else {
            return Vec::new();
        };
        let is_late = now >= deadline;
        let mut actions = Vec::new();
        let minimum = self.times.minimum;
        actions.extend(self.inbound.look(now, minimum, false, loads));
        let is_called = matches!(self.inbound.phase, Phase::Telling | Phase::Closing);
        actions.extend(self.outbound.look(now, minimum, is_called, loads));
        if is_late {
            actions.extend(self.inbound.cut(now, loads));
            actions.extend(self.outbound.cut(now, loads));
        }
        let idle = [&self.inbound, &self.outbound]
            .iter()
            .all(|lane| lane.phase == Phase::Ended);
        let is_over = now >= deadline + CUT_GRACE;
        if self.exits && (is_over || idle && (is_late || self.times.ends_when_idle)) {
            actions.push(Action::Exit);
        }
        actions
    }

    /// Whether anything stops.
    pub fn is_begun(&self) -> bool {
        self.deadline.is_some()
    }

    /// Whether the proxy is about to exit.
    pub fn exits(&self) -> bool {
        self.exits
    }

    /// What is shown of it.
    pub fn stage(&self) -> Stage {
        Stage {
            inbound: self.inbound.phase,
            outbound: self.outbound.phase,
            exits: self.exits,
            deadline: self.deadline,
        }
    }
}

// === impl Lane ===

impl Lane {
    fn new(scope: Scope, now: Instant) -> Self {
        Self {
            scope,
            phase: Phase::Serving,
            since: now,
            taken: 0,
            cut: false,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    fn begin(&mut self, now: Instant, manner: Manner, minimum: Duration) -> Option<Action> {
        match (self.phase, manner) {
            (Phase::Closing | Phase::Ended, _)
            | (Phase::Telling | Phase::Lingering, Manner::Orderly) => None,
            (Phase::Serving, Manner::Orderly) if self.scope == Scope::Outbound => {
                self.enter(Phase::Lingering, now);
                None
            }
            (Phase::Serving, Manner::Orderly) if !minimum.is_zero() => {
                self.enter(Phase::Telling, now);
                Some(Action::Tell(self.scope))
            }
            (Phase::Serving | Phase::Telling | Phase::Lingering, _) => Some(self.close(now)),
        }
    }

    fn close(&mut self, now: Instant) -> Action {
        self.enter(Phase::Closing, now);
        Action::Close(self.scope)
    }

    /// `is_called`: the workload may have to answer somebody, and need others for that.
    fn look(
        &mut self,
        now: Instant,
        minimum: Duration,
        is_called: bool,
        loads: &Loads,
    ) -> Option<Action> {
        let sum = loads.sum(self.scope);
        match self.phase {
            Phase::Serving | Phase::Ended => None,
            Phase::Telling => (now >= self.since + minimum).then(|| self.close(now)),
            Phase::Lingering => {
                let is_active = is_called || sum.open > 0 || sum.taken != self.taken;
                self.taken = sum.taken;
                if is_active {
                    self.since = now;
                }
                let is_over = !sum.listening || now >= self.since + QUIET;
                is_over.then(|| self.close(now))
            }
            Phase::Closing => {
                if !sum.listening && sum.open == 0 {
                    self.enter(Phase::Ended, now);
                }
                None
            }
        }
    }

    /// Ends what is left, once.
    fn cut(&mut self, now: Instant, loads: &Loads) -> Vec<Action> {
        let closed = match self.phase {
            Phase::Serving | Phase::Ended => return Vec::new(),
            Phase::Telling | Phase::Lingering => Some(self.close(now)),
            Phase::Closing if self.cut => return Vec::new(),
            Phase::Closing => None,
        };
        self.cut = true;
        let left = loads.sum(self.scope).open;
        let cut = Action::Cut(self.scope, left);
        closed.into_iter().chain([cut]).collect()
    }
}

#[cfg(test)]
mod tests;
