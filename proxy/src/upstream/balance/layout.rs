//! Where the members of a destination stand: levels of preference, and groups within a level.
//!
//! Compiled from locality settings; says nothing about who is available.

use std::sync::Arc;

use super::table::{Hashing, Table};
use crate::upstream::endpoint::Member;

/// All members that may be asked, by level: the first is preferred.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(super) levels: Box<[Level]>,
}

/// Members that are equally preferred.
#[derive(Debug)]
pub(crate) struct Level {
    /// How the level's traffic is spread over its groups.
    pub(crate) spread: Spread,
    /// At least one.
    pub(crate) groups: Vec<Group>,
}

/// How the traffic of a level is spread over its groups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spread {
    /// There is only one.
    Whole,
    /// By fixed relative shares, one for each group. A group of which little is available gets less.
    Shares(Vec<u32>),
    /// By zone: as much as possible stays in the own one.
    Zones {
        /// Position of the own zone.
        own: usize,
    },
}

/// Members among which one is picked by the algorithm.
#[derive(Debug)]
pub(crate) struct Group {
    /// What people know it by, such as a locality; none if it is the whole level.
    pub(crate) name: Option<Arc<str>>,
    /// Positions among all members.
    pub(crate) members: Vec<u32>,
    /// Its members by key, if they are picked so.
    pub(super) table: Option<Arc<Table>>,
}

// === impl Layout ===

impl Layout {
    /// All `count` members alike.
    pub(crate) fn flat(count: usize) -> Self {
        let members = (0..).take(count).collect();
        Self::of(vec![Level::whole(members)])
    }

    /// Levels from the first to the last. Groups and levels without members are left out.
    pub(crate) fn of(levels: Vec<Level>) -> Self {
        let levels = levels.into_iter().filter_map(Level::occupied);
        Self {
            levels: levels.collect(),
        }
    }

    /// The level of the member at `position`; none if it may not be asked.
    pub(super) fn level_of(&self, position: u32) -> Option<usize> {
        let has = |level: &Level| level.groups.iter().any(|it| it.members.contains(&position));
        self.levels.iter().position(has)
    }

    /// Makes a table of each group.
    pub(super) fn hashed(mut self, hashing: Hashing, members: &[Member]) -> Self {
        let groups = self.levels.iter_mut().flat_map(|level| &mut level.groups);
        for group in groups {
            group.table = Some(Arc::new(Table::new(hashing, members, &group.members)));
        }
        self
    }
}

// === impl Level ===

impl Level {
    /// A level of one group.
    pub(crate) fn whole(members: Vec<u32>) -> Self {
        Self {
            spread: Spread::Whole,
            groups: vec![Group::new(None, members)],
        }
    }

    /// The level without its empty groups; none if nothing is left.
    fn occupied(mut self) -> Option<Self> {
        let is_empty = |group: &Group| group.members.is_empty();
        if let Spread::Shares(shares) = &mut self.spread {
            let mut groups = self.groups.iter();
            shares.retain(|_| groups.next().is_some_and(|group| !is_empty(group)));
        }
        // The own zone stays, also if it is empty: its callers are there.
        if !matches!(self.spread, Spread::Zones { .. }) {
            self.groups.retain(|group| !is_empty(group));
        }
        let occupied = self.groups.iter().any(|group| !is_empty(group));
        occupied.then_some(self)
    }

    /// Members of all groups.
    pub(super) fn members(&self) -> impl Iterator<Item = u32> {
        self.groups
            .iter()
            .flat_map(|group| group.members.iter().copied())
    }
}

// === impl Group ===

impl Group {
    /// A group of the members at these positions.
    pub(crate) fn new(name: Option<Arc<str>>, members: Vec<u32>) -> Self {
        Self {
            name,
            members,
            table: None,
        }
    }
}
