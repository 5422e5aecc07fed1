//! The order of turns of weighted round robin.

/// Longest round, in turns; weights are scaled down to fit. Every member has at least one turn on top
/// of that.
const ROUND_TURNS_MAX: usize = 4_096;

/// The order of turns in which every member has as many as its weight, spread evenly: a member with
/// `n` turns has them in the middles of the `n` equal parts of a round. Equal weights go in order.
///
/// The work is that of sorting at most [`ROUND_TURNS_MAX`] turns and one per member.
pub(super) fn round(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|it| u64::from(it / divisor)).sum();
    let scale = total.div_ceil(ROUND_TURNS_MAX as u64).max(1);
    let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
    let mut turns: Vec<Turn> = (0_u32..)
        .zip(weights)
        .flat_map(|(member, weight)| {
            let of = match equal {
                true => 1,
                false => (u64::from(weight / divisor) / scale).max(1),
            };
            (0..of).map(move |at| Turn { member, at, of })
        })
        .collect();
    // The sort is stable: members whose turns fall together keep their order.
    turns.sort_by(Turn::cmp_time);
    turns.iter().map(|turn| turn.member).collect()
}

/// One turn of a member in a round.
struct Turn {
    member: u32,
    /// Which of the member's turns it is, from 0.
    at: u64,
    /// Turns of the member in a round.
    of: u64,
}

impl Turn {
    /// Compares `(at + 1/2) / of` without rounding; both sides fit because a member has at most
    /// [`ROUND_TURNS_MAX`] turns.
    fn cmp_time(&self, other: &Self) -> std::cmp::Ordering {
        ((2 * self.at + 1) * other.of).cmp(&((2 * other.at + 1) * self.of))
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_of_many_members_is_made_at_once() {
        let equal = round(&vec![7; 100_000]);
        let weights: Vec<u32> = (0..100_000).map(|at| at % 1_000 + 1).collect();
        let uneven = round(&weights);
        let heavy = round(&[u32::MAX, 1]);

        assert!((0..100_000).eq(equal.iter().copied()), "in order");
        assert!(uneven.len() <= 100_000 + ROUND_TURNS_MAX);
        let members: std::collections::BTreeSet<_> = uneven.iter().collect();
        assert_eq!(members.len(), 100_000, "everybody has a turn");
        assert!(heavy.len() <= ROUND_TURNS_MAX + 1);
        assert_eq!(heavy.iter().filter(|member| **member == 1).count(), 1);
    }
}
