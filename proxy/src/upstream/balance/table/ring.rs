//! Ring hash.
//!
//! A member has a number of points on the ring that does not change when others come or go, so that
//! nothing moves but what must: a new member takes keys, and nobody else gets any. Only where the size
//! of the ring is given by a bound do members have fewer points the more they are. Those that they keep
//! stay where they are, so that about as many keys move as the new member takes, once more.

use super::Seat;
use crate::table::split::mix;

/// Points of the heaviest member while the ring stays within [`STANDARD_POINTS_MAX`]. Shares then
/// differ from the weights by some 3 %.
const MEMBER_POINTS: u64 = 1_024;
/// Points of the heaviest member however many there are.
const MEMBER_POINTS_MIN: u64 = 128;
/// Size of a ring beyond which members get fewer points: 1 MiB, and made in a few milliseconds.
const STANDARD_POINTS_MAX: u64 = 1 << 17;
/// Largest ring, whatever its rule asks for.
const POINTS_MAX: u64 = 8 << 20;
/// Distance of the numbers from which the points of a member are mixed (2^64 by the golden ratio).
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Points in their order.
///
/// The low bits of a point say whose it is: numbers alone are sorted several times as fast, and what
/// they decide of the place on the ring is nothing.
#[derive(Debug)]
pub(in crate::upstream::balance) struct Ring {
    points: Box<[u64]>,
    /// The low bits of a point.
    owner_mask: u64,
    /// Positions of members by owner number.
    members: Box<[u32]>,
}

// === impl Ring ===

impl Ring {
    pub(super) fn new(seats: &[Seat], points_min: u64) -> Self {
        let heaviest = seats.iter().map(|seat| seat.weight).max().unwrap_or(1);
        let of_heaviest = points_of_heaviest(seats, points_min);
        let owner_mask = (seats.len() as u64).next_power_of_two() - 1;
        let mut points = Vec::new();
        for (owner, seat) in (0_u64..).zip(seats) {
            let share = of_heaviest * u64::from(seat.weight);
            let count = share.div_ceil(u64::from(heaviest));
            points.extend((1..=count).map(|number| {
                let point = mix(seat.hash.wrapping_add(STRIDE.wrapping_mul(number)));
                point & !owner_mask | owner
            }));
        }
        points.sort_unstable();
        Self {
            points: points.into(),
            owner_mask,
            members: seats.iter().map(|seat| seat.member).collect(),
        }
    }

    /// The members of all points, from the one that `key` belongs to once around.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let start = self.points.partition_point(|point| *point < key);
        let (before, after) = self.points.split_at(start);
        let owners = after.iter().chain(before);
        owners.map(|point| self.members[(point & self.owner_mask) as usize])
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }
}

/// Points are numbered from 1, so that the points of a member at one size are among those at every
/// larger one: any number will do.
fn points_of_heaviest(seats: &[Seat], points_min: u64) -> u64 {
    let weights = seats.iter().map(|seat| u64::from(seat.weight));
    let heaviest = weights.clone().max().unwrap_or(1);
    let total = weights.sum::<u64>().max(1);
    // The ring has this many times the points of the heaviest member.
    let times = total.div_ceil(heaviest);
    let standard = (STANDARD_POINTS_MAX / times).clamp(MEMBER_POINTS_MIN, MEMBER_POINTS);
    let asked = (points_min.min(POINTS_MAX) * heaviest).div_ceil(total);
    let bound = (POINTS_MAX / (seats.len() as u64).max(1)).max(1);
    standard.max(asked).min(bound)
}
