//! Consistent hashing: which endpoint a key belongs to.
//!
//! A table depends on the addresses and weights of its members alone, not on their order, the process
//! or anything drawn: all proxies agree on every key. It is made of all members, available or not; who
//! cannot be used is passed over, so that only the keys of that member move.

mod maglev;
mod ring;
#[cfg(test)]
mod tests;

use crate::table::split::stable_hash;
use crate::upstream::endpoint::Member;
use maglev::Maglev;
use ring::Ring;

/// Which table is used, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// Points of the members on a ring; a key belongs to the next one.
    Ring {
        /// Least number of points.
        points_min: u64,
    },
    /// Maglev: a key belongs to a slot, and members take slots in turn.
    Maglev {
        /// Number of slots, a prime.
        slots: u32,
    },
}

/// Members by key.
#[derive(Debug)]
pub(super) enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// A member as tables see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    /// Of its address.
    hash: u64,
    /// At least 1.
    weight: u32,
    /// Its position among all members.
    member: u32,
}

// === impl Table ===

impl Table {
    /// The table of those `members` whose positions are given.
    pub(super) fn new(hashing: Hashing, members: &[Member], positions: &[u32]) -> Self {
        let seat = |position: &u32| {
            let member = members.get(*position as usize)?;
            Some(Seat {
                hash: stable_hash(member.endpoint.addr.to_string().as_bytes()),
                weight: member.weight.max(1),
                member: *position,
            })
        };
        let mut seats: Vec<Seat> = positions.iter().filter_map(seat).collect();
        // From here on the order in which members were written does not matter.
        seats.sort_unstable();
        match hashing {
            Hashing::Ring { points_min } => Self::Ring(Ring::new(&seats, points_min)),
            Hashing::Maglev { slots } => Self::Maglev(Maglev::new(&seats, slots)),
        }
    }

    /// The position of the member that `key` belongs to, among those that are `wanted`.
    pub(super) fn find(&self, key: u64, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(ring) => ring.from(key).find(|it| wanted(*it)),
            Self::Maglev(maglev) => maglev.from(key).find(|it| wanted(*it)),
        }
    }
}
