//! What keeps the checks of one destination from taking the places of all the others.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{CHECKS_MAX_EACH, Check, Due, Target};

/// What is under way, by check. Has none for a check of which nothing is.
#[derive(Debug, Default)]
pub(super) struct Lanes(FxHashMap<Arc<Check>, Lane>);

#[derive(Debug, Default)]
struct Lane {
    under_way: usize,
    /// Targets that are due and cannot begin yet, in the order in which they became so.
    waiting: VecDeque<(Due, Arc<Target>)>,
}

// === impl Lanes ===

impl Lanes {
    /// Counts a target as under way and gives it back, or keeps it until there is room.
    pub(super) fn enter(&mut self, due: Due, target: Arc<Target>) -> Option<Arc<Target>> {
        let lane = self.0.entry(Arc::clone(&target.check)).or_default();
        if lane.under_way < CHECKS_MAX_EACH {
            lane.under_way += 1;
            return Some(target);
        }
        lane.waiting.push_back((due, target));
        None
    }

    /// Counts one less as under way.
    pub(super) fn leave(&mut self, check: &Arc<Check>) {
        let Some(lane) = self.0.get_mut(check) else {
            return;
        };
        lane.under_way = lane.under_way.saturating_sub(1);
        if lane.under_way == 0 && lane.waiting.is_empty() {
            self.0.remove(check);
        }
    }

    /// Who waits longest for a check.
    pub(super) fn release(&mut self, check: &Arc<Check>) -> Option<(Due, Arc<Target>)> {
        self.0.get_mut(check)?.waiting.pop_front()
    }

    /// All that wait.
    pub(super) fn release_all(&mut self) -> Vec<(Due, Arc<Target>)> {
        let lanes = self.0.values_mut();
        let waiting = lanes.flat_map(|lane| lane.waiting.drain(..)).collect();
        self.0.retain(|_, lane| lane.under_way > 0);
        waiting
    }
}
