//! Who is asked right now: the layout of a destination, with what is available of it.
//!
//! A plan is made when the availability of an endpoint has changed, or when what warms up has become
//! warmer, and then only read: a pick costs what it would if nothing could ever fail.

use std::sync::Arc;

use tokio::time::Instant;

use super::draw::Draw;
use super::layout::{Group, Layout, Level, Spread};
use super::load::{Fitness, Load, loads, zone_shares};
use super::round::round;
use super::table::Table;
use super::{Algorithm, Terms};
use crate::upstream::endpoint::Member;

/// Weight 1 of a member that is warm, in the units of plans in which something warms up.
const WARM: f64 = 1_000.0;
/// The whole of a destination's traffic, in the units in which groups are drawn.
const WHOLE: f64 = (1_u64 << 32) as f64;

/// Whom to ask, while nothing changes.
#[derive(Debug)]
pub(super) struct Plan {
    /// Number of the change that it takes into account.
    changes: u64,
    /// When it is to be made again because of what warms up.
    until: Option<Instant>,
    /// Those that get traffic come first, then those that stand by, each by level.
    pub(super) groups: Box<[PlannedGroup]>,
    /// How many get traffic.
    serving: usize,
    /// By which one is drawn; none while only one gets traffic.
    among: Option<Draw>,
    /// What each level gets.
    pub(super) loads: Box<[Load]>,
}

/// Members of a group that are asked.
#[derive(Debug)]
pub(super) struct PlannedGroup {
    /// Its level.
    pub(super) level: usize,
    /// Its name.
    pub(super) name: Option<Arc<str>>,
    /// Its share of the destination's traffic, 0–1.
    pub(super) share: f64,
    /// Positions among all members; at least one.
    pub(super) members: Box<[u32]>,
    pub(super) order: Order,
}

/// What an algorithm needs to pick a member of a group.
#[derive(Debug)]
pub(super) enum Order {
    /// Drawn by weight.
    Drawn(Draw),
    /// In turn.
    Turns(Box<[u32]>),
    /// By key.
    Keyed {
        table: Arc<Table>,
        /// For each member of the destination whether it is asked; none if all of the group are.
        asked: Option<Box<[bool]>>,
    },
}

/// What plans are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planning<'b> {
    pub(super) members: &'b [Member],
    pub(super) layout: &'b Layout,
    pub(super) terms: &'b Terms,
    pub(super) now: Instant,
}

// === impl Plan ===

impl Plan {
    /// The plan by what is available now. `changes` was read before: what changes meanwhile gives
    /// another plan.
    pub(super) fn new(planning: &Planning<'_>, changes: u64) -> Self {
        let available: Vec<bool> = planning
            .members
            .iter()
            .map(|member| member.endpoint.health.is_available())
            .collect();
        let levels = &planning.layout.levels;
        let fitness = |level: &Level| fitness(level.members(), &available);
        let fitnesses: Vec<Fitness> = levels.iter().map(fitness).collect();
        let loads = loads(&fitnesses, planning.terms.panic_percent);
        let mut groups = Vec::new();
        for (number, (level, load)) in levels.iter().zip(&loads).enumerate() {
            groups.extend(planning.level(number, level, *load, &available));
        }
        // The sort is stable: within both parts levels stay in order.
        groups.sort_by_key(|group| group.share <= 0.0);
        let shares = groups.iter().map(|group| group.share);
        let serving = shares.clone().filter(|share| *share > 0.0).count();
        let parts: Vec<u64> = shares.map(|share| (share * WHOLE) as u64).collect();
        Self {
            changes,
            until: planning.until(&groups),
            among: (serving > 1).then(|| Draw::new(&parts[..serving])),
            groups: groups.into(),
            serving,
            loads: loads.into(),
        }
    }

    /// Whether it is as good as a new one.
    pub(super) fn holds(&self, changes: u64) -> bool {
        self.changes == changes && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Position of the group for one request, by a number that is drawn only if it is needed.
    pub(super) fn group(&self, number: impl FnOnce() -> u64) -> Option<usize> {
        match &self.among {
            None => (self.serving > 0).then_some(0),
            Some(draw) => Some(draw.at(number())),
        }
    }
}

// === impl Planning ===

impl Planning<'_> {
    /// The groups of a level that have somebody to ask.
    fn level(
        &self,
        number: usize,
        level: &Level,
        load: Load,
        available: &[bool],
    ) -> Vec<PlannedGroup> {
        let asked = |position: &u32| load.panics || available[*position as usize];
        let groups: Vec<(&Group, Vec<u32>)> = level
            .groups
            .iter()
            .map(|group| (group, group.members.iter().copied().filter(asked).collect()))
            .collect();
        let shares = self.shares(&level.spread, &groups);
        let whole: f64 = shares.iter().sum();
        let level_share = f64::from(load.percent) / 100.0;
        groups
            .into_iter()
            .zip(shares)
            .filter(|((_, members), _)| !members.is_empty())
            .map(|((group, members), share)| PlannedGroup {
                level: number,
                name: group.name.clone(),
                share: if whole > 0.0 {
                    level_share * share / whole
                } else {
                    0.0
                },
                order: self.order(group, &members),
                members: members.into(),
            })
            .collect()
    }

    /// Relative shares of the groups of a level, of which these members are asked.
    fn shares(&self, spread: &Spread, groups: &[(&Group, Vec<u32>)]) -> Vec<f64> {
        match spread {
            Spread::Whole => vec![1.0; groups.len()],
            Spread::Shares(shares) => {
                let fit = |(group, asked): &(&Group, Vec<u32>)| Fitness {
                    available: asked.len(),
                    all: group.members.len(),
                };
                let parts = groups.iter().map(|group| fit(group).part());
                let shares = shares.iter().map(|share| f64::from(*share));
                shares
                    .zip(parts)
                    .map(|(share, part)| share * part)
                    .collect()
            }
            Spread::Zones { own } => {
                let capacity = |(_, asked): &(&Group, Vec<u32>)| {
                    let weight = |at: &u32| u64::from(self.members[*at as usize].weight);
                    asked.iter().map(weight).sum()
                };
                let capacities: Vec<u64> = groups.iter().map(capacity).collect();
                zone_shares(&capacities, *own)
            }
        }
    }

    fn order(&self, group: &Group, members: &[u32]) -> Order {
        match self.terms.algorithm {
            Algorithm::LeastRequest | Algorithm::Random => {
                let weights = members.iter().map(|at| self.weight(*at));
                let weights: Vec<u64> = weights.collect();
                Order::Drawn(Draw::new(&weights))
            }
            Algorithm::RoundRobin => {
                let weight = |at: &u32| u32::try_from(self.weight(*at)).unwrap_or(u32::MAX);
                let weights: Vec<u32> = members.iter().map(weight).collect();
                Order::Turns(round(&weights))
            }
            Algorithm::Hash(_) => {
                let all = members.len() == group.members.len();
                let asked = || {
                    let mut asked = vec![false; self.members.len()];
                    members.iter().for_each(|at| asked[*at as usize] = true);
                    asked.into()
                };
                match &group.table {
                    Some(table) => Order::Keyed {
                        table: Arc::clone(table),
                        asked: (!all).then(asked),
                    },
                    None => Order::Drawn(Draw::new(&vec![1; members.len()])),
                }
            }
        }
    }

    /// The weight of a member, less while it warms up. Bounded by [`WARM`] times the written one.
    fn weight(&self, position: u32) -> u64 {
        let member = &self.members[position as usize];
        let Some(warmup) = &self.terms.warmup else {
            return u64::from(member.weight);
        };
        let age = self.now.saturating_duration_since(member.endpoint.born);
        let weight = f64::from(member.weight) * warmup.part(age) * WARM;
        (weight as u64).max(1)
    }

    /// When shares are worked out again: while something that is asked is warming up.
    fn until(&self, groups: &[PlannedGroup]) -> Option<Instant> {
        let warmup = self.terms.warmup.as_ref()?;
        let mut members = groups.iter().flat_map(|group| &group.members);
        let warms = members.any(|at| {
            let born = self.members[*at as usize].endpoint.born;
            self.now.saturating_duration_since(born) < warmup.duration
        });
        warms.then(|| self.now + warmup.step())
    }
}

fn fitness(members: impl Iterator<Item = u32>, available: &[bool]) -> Fitness {
    members.fold(
        Fitness {
            available: 0,
            all: 0,
        },
        |fitness, member| Fitness {
            available: fitness.available + usize::from(available[member as usize]),
            all: fitness.all + 1,
        },
    )
}
