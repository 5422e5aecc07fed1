//! Maglev hashing (Eisenbud et al., NSDI 2016).
//!
//! Every member has an order of preference over all slots, and members take turns in claiming the
//! slot that they like best of those left. A heavier member has more turns.

use super::Seat;
use crate::table::split::mix;
use crate::upstream::balance::round::round;

/// Told apart from it the hash of an address gives the slot that a member likes best.
const FIRST: u64 = 0x6d61_676c_6576_0001;
/// Likewise how it goes on from there.
const STEP: u64 = 0x6d61_676c_6576_0002;

/// Slots and the members that claimed them.
#[derive(Debug)]
pub(in crate::upstream::balance) struct Maglev {
    slots: Box<[u32]>,
}

/// Where a member would go next.
struct Preference {
    slot: u64,
    step: u64,
}

// === impl Maglev ===

impl Maglev {
    /// The work is some `size × ln(size)` steps. `size` is a prime, so that every step leads through
    /// all slots.
    pub(super) fn new(seats: &[Seat], size: u32) -> Self {
        const FREE: u32 = u32::MAX;
        let size = u64::from(size.max(2));
        let preference = |seat: &Seat| Preference {
            slot: mix(seat.hash ^ FIRST) % size,
            step: mix(seat.hash ^ STEP) % (size - 1) + 1,
        };
        let mut preferences: Vec<Preference> = seats.iter().map(preference).collect();
        let weights: Vec<u32> = seats.iter().map(|seat| seat.weight).collect();
        let turns = round(&weights);
        let mut slots = vec![FREE; if seats.is_empty() { 0 } else { size as usize }];
        for turn in turns.iter().cycle().take(slots.len()) {
            let at = *turn as usize;
            let preference = &mut preferences[at];
            // There is a free one: this loop has as many turns as there are slots.
            while slots[preference.slot as usize] != FREE {
                preference.slot = (preference.slot + preference.step) % size;
            }
            slots[preference.slot as usize] = seats[at].member;
        }
        Self {
            slots: slots.into(),
        }
    }

    /// The members of all slots, from the one that `key` belongs to once around.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let start = key.checked_rem(self.slots.len() as u64).unwrap_or(0);
        let (before, after) = self.slots.split_at(start as usize);
        after.iter().chain(before).copied()
    }
}
