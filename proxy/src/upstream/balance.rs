//! Which endpoint of a destination gets a request.
//!
//! What does not depend on the health of endpoints is compiled: members, `Layout`, hash tables. What
//! does is a `Plan`, made when something changes and then only read, by all workers. The first plan
//! is part of the balancer: while nothing fails and nothing warms up, a pick costs one atomic load more
//! than if neither could happen.

mod draw;
mod key;
mod layout;
mod load;
mod plan;
mod round;
mod table;
#[cfg(test)]
mod tests;
mod warmup;

use std::sync::{Arc, Mutex, TryLockError};

use tokio::time::Instant;

use crate::snapshot::Shared;
use crate::table::split::mix;
use crate::upstream::destination::Live;
use crate::upstream::endpoint::Member;
pub(crate) use key::Keyed;
pub use key::{HashCookie, HashKey};
pub(crate) use layout::{Group, Layout, Level, Spread};
use plan::{Order, Plan, PlannedGroup, Planning};
pub use table::Hashing;
pub use warmup::Warmup;

/// Told apart from it the key of a request gives the group that it belongs to.
const GROUP: u64 = 0x6772_6f75_7000_0001;

/// Endpoints and the way one is picked.
#[derive(Debug)]
pub struct Balancer {
    members: Box<[Member]>,
    layout: Layout,
    terms: Terms,
    /// The plan of the time when the balancer was made.
    first: Plan,
    /// The plan by the last change since.
    later: Shared<Plan>,
    /// Held while a plan is made. Nobody waits for it: who finds it taken goes by the plan before.
    planning: Mutex<()>,
}

/// How an endpoint is picked, wherever endpoints are.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How new endpoints begin; all at once if it is unset.
    pub warmup: Option<Warmup>,
    /// Share of available endpoints, in percent, below which all are used; 0 for never.
    pub panic_percent: u32,
}

/// How an endpoint is picked among those that are equally good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// The less busy of two drawn at random by weight.
    LeastRequest,
    /// Drawn at random by weight.
    Random,
    /// In turn; an endpoint has as many turns per round as its weight says.
    RoundRobin,
    /// By a key of the request; at random for requests without.
    Hash(Affinity),
}

/// What ties requests to endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// Where the key comes from; without, no request has one.
    pub key: Option<HashKey>,
    /// How keys are given to endpoints.
    pub hashing: Hashing,
}

/// What an attempt wants of the endpoint that is picked for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'w> {
    /// Hash of what ties the request to an endpoint, if something does.
    pub key: Option<u64>,
    /// Endpoints to avoid while there are others, by id.
    pub tried: &'w [u64],
    /// Another locality is better than an endpoint that was tried.
    pub far: bool,
}

/// A group of endpoints as it is asked right now, for people.
#[derive(Debug)]
pub(crate) struct Standing<'b> {
    /// Level of preference, from 0.
    pub(crate) level: usize,
    /// What the group is known by, unless it is the whole level.
    pub(crate) name: Option<Arc<str>>,
    /// Share of the destination's traffic, 0–1.
    pub(crate) share: f64,
    /// Whether all of the level are asked because too few are available.
    pub(crate) panics: bool,
    /// Who is asked.
    pub(crate) members: Vec<&'b Member>,
}

// === impl Balancer ===

impl Balancer {
    /// Balances over `members` alike by least request.
    pub fn least_request(members: Vec<Member>) -> Self {
        Self::flat(members, Algorithm::LeastRequest)
    }

    /// Balances over `members` alike at random.
    pub fn random(members: Vec<Member>) -> Self {
        Self::flat(members, Algorithm::Random)
    }

    /// Balances over `members` alike in turn.
    pub fn round_robin(members: Vec<Member>) -> Self {
        Self::flat(members, Algorithm::RoundRobin)
    }

    fn flat(members: Vec<Member>, algorithm: Algorithm) -> Self {
        let (layout, terms) = (Layout::flat(members.len()), Terms::of(algorithm));
        Self::new(members, layout, terms, &Live::default())
    }

    /// Balances over `members`, which stand as `layout` says, of the destination that is `live`.
    pub(crate) fn new(members: Vec<Member>, layout: Layout, terms: Terms, live: &Live) -> Self {
        let layout = match &terms.algorithm {
            Algorithm::Hash(affinity) => layout.hashed(affinity.hashing, &members),
            Algorithm::LeastRequest | Algorithm::Random | Algorithm::RoundRobin => layout,
        };
        let planning = Planning {
            members: &members,
            layout: &layout,
            terms: &terms,
            now: Instant::now(),
        };
        Self {
            first: Plan::new(&planning, live.changes()),
            members: members.into(),
            layout,
            terms,
            later: Shared::default(),
            planning: Mutex::default(),
        }
    }

    /// All members, asked or not.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Name of the algorithm in the API.
    pub fn algorithm(&self) -> &'static str {
        match &self.terms.algorithm {
            Algorithm::LeastRequest => "LEAST_REQUEST",
            Algorithm::Random => "RANDOM",
            Algorithm::RoundRobin => "ROUND_ROBIN",
            Algorithm::Hash(affinity) => match affinity.hashing {
                Hashing::Ring { .. } => "RING_HASH",
                Hashing::Maglev { .. } => "MAGLEV",
            },
        }
    }

    /// What ties requests to endpoints, if something does.
    pub(crate) fn affinity(&self) -> Option<&Affinity> {
        match &self.terms.algorithm {
            Algorithm::Hash(affinity) => Some(affinity),
            Algorithm::LeastRequest | Algorithm::Random | Algorithm::RoundRobin => None,
        }
    }

    /// The member for one attempt.
    pub fn pick(&self, live: &Live, rng: &mut fastrand::Rng, wish: &Wish<'_>) -> Option<&Member> {
        self.with_plan(live, |plan| self.pick_by(plan, live, rng, wish))
    }

    /// Which endpoints are asked right now, those that get traffic first.
    pub(crate) fn standings(&self, live: &Live) -> Vec<Standing<'_>> {
        let standing = |plan: &Plan, group: &PlannedGroup| Standing {
            level: group.level,
            name: group.name.clone(),
            share: group.share,
            panics: plan.loads.get(group.level).is_some_and(|it| it.panics),
            members: group.members.iter().map(|at| self.member(*at)).collect(),
        };
        self.with_plan(live, |plan| {
            let groups = plan.groups.iter();
            groups.map(|group| standing(plan, group)).collect()
        })
    }

    /// Level of preference of the member at `position`, from 0; none if it is never asked.
    pub(crate) fn level_of(&self, position: usize) -> Option<usize> {
        self.layout.level_of(u32::try_from(position).ok()?)
    }

    /// Works by the plan that takes every change so far into account. While another thread is making
    /// it, the plan before is good enough.
    fn with_plan<R>(&self, live: &Live, work: impl FnOnce(&Plan) -> R) -> R {
        let changes = live.changes();
        if self.first.holds(changes) {
            return work(&self.first);
        }
        if !self
            .later
            .read(|plan| plan.is_some_and(|it| it.holds(changes)))
        {
            self.plan(changes);
        }
        self.later.read(|plan| work(plan.unwrap_or(&self.first)))
    }

    fn plan(&self, changes: u64) {
        let _held = match self.planning.try_lock() {
            Ok(held) => held,
            // Nothing is left half done by one that panicked.
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let planning = Planning {
            members: &self.members,
            layout: &self.layout,
            terms: &self.terms,
            now: Instant::now(),
        };
        self.later.replace(Plan::new(&planning, changes));
    }

    fn pick_by(
        &self,
        plan: &Plan,
        live: &Live,
        rng: &mut fastrand::Rng,
        wish: &Wish<'_>,
    ) -> Option<&Member> {
        // Of a request with a key the group is as fixed as the endpoint.
        let number = || wish.key.map_or_else(|| rng.u64(..), |key| mix(key ^ GROUP));
        let at = plan.group(number)?;
        let group = &plan.groups[at];
        let picked = self.pick_in(group, live, rng, wish)?;
        if !wish.has_tried(picked) {
            return Some(picked);
        }
        let others = match wish.far {
            true => plan.groups.len(),
            false => 1,
        };
        let groups = plan.groups[at..].iter().chain(&plan.groups[..at]);
        let fresh = groups
            .take(others)
            .find_map(|group| self.fresh_in(group, rng, wish));
        fresh.or(Some(picked))
    }

    /// A member of a group, whatever was tried.
    fn pick_in(
        &self,
        group: &PlannedGroup,
        live: &Live,
        rng: &mut fastrand::Rng,
        wish: &Wish<'_>,
    ) -> Option<&Member> {
        if let [only] = &*group.members {
            return Some(self.member(*only));
        }
        match &group.order {
            Order::Drawn(draw) => {
                let mut member = || {
                    let position = group.members.get(draw.at(rng.u64(..)))?;
                    Some(self.member(*position))
                };
                let first = member()?;
                if self.terms.algorithm != Algorithm::LeastRequest {
                    return Some(first);
                }
                let second = member()?;
                let busier = second.endpoint.active() < first.endpoint.active();
                Some(if busier { second } else { first })
            }
            Order::Turns(round) => {
                let turn = live.next_turn() % round.len().max(1);
                let position = group.members.get(*round.get(turn)? as usize)?;
                Some(self.member(*position))
            }
            Order::Keyed { .. } => {
                let found = self.keyed_in(group, rng, wish, |_| true);
                // A small Maglev table has no slot for everybody.
                found.or_else(|| group.members.first().map(|at| self.member(*at)))
            }
        }
    }

    /// A member of a group that was not tried.
    fn fresh_in(
        &self,
        group: &PlannedGroup,
        rng: &mut fastrand::Rng,
        wish: &Wish<'_>,
    ) -> Option<&Member> {
        let is_fresh = |member: &Member| !wish.has_tried(member);
        // A table may be long, and all of it would be gone through in vain.
        if !group.members.iter().any(|at| is_fresh(self.member(*at))) {
            return None;
        }
        let by_key = self.keyed_in(group, rng, wish, is_fresh);
        by_key.or_else(|| {
            let (before, after) = group.members.split_at(rng.usize(..group.members.len()));
            let mut members = after.iter().chain(before).map(|at| self.member(*at));
            members.find(|member| is_fresh(member))
        })
    }

    /// The member of a group to which the request's key, or a random one, leads among those that are
    /// `wanted`.
    fn keyed_in(
        &self,
        group: &PlannedGroup,
        rng: &mut fastrand::Rng,
        wish: &Wish<'_>,
        wanted: impl Fn(&Member) -> bool,
    ) -> Option<&Member> {
        let Order::Keyed { table, asked } = &group.order else {
            return None;
        };
        let key = wish.key.unwrap_or_else(|| rng.u64(..));
        let is_asked = |at: u32| asked.as_ref().is_none_or(|asked| asked[at as usize]);
        let position = table.find(key, |at| is_asked(at) && wanted(self.member(at)))?;
        Some(self.member(position))
    }

    /// Positions in layouts, plans and tables are those of members.
    fn member(&self, position: u32) -> &Member {
        &self.members[position as usize]
    }
}

// === impl Terms ===

impl Terms {
    /// The algorithm and nothing else.
    pub fn of(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            warmup: None,
            panic_percent: 0,
        }
    }
}

// === impl Wish ===

impl Wish<'_> {
    fn has_tried(&self, member: &Member) -> bool {
        self.tried.contains(&member.endpoint.id)
    }
}
