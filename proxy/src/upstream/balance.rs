//! Which endpoint of a destination gets a request.

use std::sync::atomic::Ordering;

use crate::upstream::destination::Live;
use crate::upstream::endpoint::Member;

/// Longest round of weighted round robin, in turns; weights are scaled down to fit. Every member has
/// at least one turn on top of that.
const ROUND_TURNS_MAX: usize = 4_096;

/// Endpoints and the way one is picked.
#[derive(Debug)]
pub struct Balancer {
    members: Box<[Member]>,
    /// Running totals of the weights; empty while all weights are equal.
    totals: Box<[u64]>,
    algorithm: Algorithm,
}

/// How an endpoint is picked.
#[derive(Debug)]
pub enum Algorithm {
    /// The less busy of two drawn at random by weight.
    LeastRequest,
    /// Drawn at random by weight.
    Random,
    /// In turn; an endpoint has as many turns per round as its weight says.
    RoundRobin {
        /// Positions of members in the order of turns.
        round: Box<[u32]>,
    },
}

/// What an attempt wants of the endpoint that is picked for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'w> {
    /// Hash of what ties the request to an endpoint, if something does.
    pub(crate) key: Option<u64>,
    /// Endpoints to avoid while there are others, by id.
    pub(crate) tried: &'w [u64],
}

// === impl Balancer ===

impl Balancer {
    /// Balances over `members` by least request.
    pub fn least_request(members: Vec<Member>) -> Self {
        Self::new(members, Algorithm::LeastRequest)
    }

    /// Balances over `members` at random.
    pub fn random(members: Vec<Member>) -> Self {
        Self::new(members, Algorithm::Random)
    }

    /// Balances over `members` in turn.
    pub fn round_robin(members: Vec<Member>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        Self::new(
            members,
            Algorithm::RoundRobin {
                round: round(&weights),
            },
        )
    }

    fn new(members: Vec<Member>, algorithm: Algorithm) -> Self {
        let equal = members
            .windows(2)
            .all(|pair| pair[0].weight == pair[1].weight);
        let mut total = 0;
        let totals = members.iter().map(|member| {
            total += u64::from(member.weight);
            total
        });
        let totals = if equal {
            Box::default()
        } else {
            totals.collect()
        };
        Self {
            members: members.into(),
            totals,
            algorithm,
        }
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Name of the algorithm in the API.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::LeastRequest => "LEAST_REQUEST",
            Algorithm::Random => "RANDOM",
            Algorithm::RoundRobin { .. } => "ROUND_ROBIN",
        }
    }

    /// The member for one attempt.
    pub(crate) fn pick(
        &self,
        live: &Live,
        rng: &mut fastrand::Rng,
        wish: &Wish<'_>,
    ) -> Option<&Member> {
        if let [only] = &*self.members {
            return Some(only);
        }
        let picked = self.pick_any(live, rng)?;
        if !wish.tried.contains(&picked.endpoint.id) {
            return Some(picked);
        }
        let start = rng.usize(..self.members.len());
        let others = self.members[start..].iter().chain(&self.members[..start]);
        let mut fresh = others.filter(|member| !wish.tried.contains(&member.endpoint.id));
        Some(fresh.next().unwrap_or(picked))
    }

    fn pick_any(&self, live: &Live, rng: &mut fastrand::Rng) -> Option<&Member> {
        match &self.algorithm {
            Algorithm::LeastRequest => {
                let (first, second) = (self.draw(rng)?, self.draw(rng)?);
                let busier = second.endpoint.active() < first.endpoint.active();
                Some(if busier { second } else { first })
            }
            Algorithm::Random => self.draw(rng),
            Algorithm::RoundRobin { round } => {
                let turn = live.turn.fetch_add(1, Ordering::Relaxed);
                self.members
                    .get(*round.get(turn % round.len().max(1))? as usize)
            }
        }
    }

    /// A member at random, by weight.
    fn draw(&self, rng: &mut fastrand::Rng) -> Option<&Member> {
        match self.totals.last() {
            None if self.members.is_empty() => None,
            None => Some(&self.members[rng.usize(..self.members.len())]),
            Some(total) => {
                let at = rng.u64(..*total);
                self.members
                    .get(self.totals.partition_point(|end| *end <= at))
            }
        }
    }
}

/// The order of turns in which every member has as many as its weight, spread evenly: a member with
/// `n` turns has them in the middles of the `n` equal parts of a round. Equal weights go in order.
///
/// The work is that of sorting at most [`ROUND_TURNS_MAX`] turns and one per member.
fn round(weights: &[u32]) -> Box<[u32]> {
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
    use std::sync::Arc;

    use crate::telemetry::labels::TrafficId;
    use crate::upstream::endpoint::{Endpoint, EndpointAddr};

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(port, weight): (u16, &u32)| Member {
            endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(
                ([127, 0, 0, 1], port).into(),
            ))),
            weight: *weight,
            traffic: TrafficId::UNKNOWN,
            locality: None,
        };
        (1..).zip(weights).map(member).collect()
    }

    fn avoiding(tried: &[u64]) -> Wish<'_> {
        Wish { key: None, tried }
    }

    fn port(member: &Member) -> u16 {
        match &member.endpoint.addr {
            EndpointAddr::Tcp(addr) => addr.port(),
            EndpointAddr::Unix(_) => 0,
        }
    }

    fn picks(balancer: &Balancer, count: usize) -> Vec<u16> {
        let (live, mut rng) = (Live::default(), fastrand::Rng::with_seed(3));
        let pick = |_| {
            port(
                balancer
                    .pick(&live, &mut rng, &Wish::default())
                    .expect("a member"),
            )
        };
        (0..count).map(pick).collect()
    }

    #[test]
    fn round_robin_goes_in_order() {
        assert_eq!(
            picks(&Balancer::round_robin(members(&[1, 1, 1])), 6),
            [1, 2, 3, 1, 2, 3]
        );
    }

    #[test]
    fn weighted_round_robin_spreads_the_turns() {
        let mut seen = picks(&Balancer::round_robin(members(&[4, 2])), 6);

        assert_eq!(seen[..3], seen[3..], "2:1 repeats every three turns");
        seen.sort_unstable();
        assert_eq!(seen, [1, 1, 1, 1, 2, 2]);
    }

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

    #[test]
    fn random_follows_the_weights() {
        let seen = picks(&Balancer::random(members(&[3, 1])), 40_000);

        let first = seen.iter().filter(|port| **port == 1).count();
        assert!((29_600..=30_400).contains(&first), "{first}");
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let balancer = Balancer::least_request(members(&[1, 1]));
        let busy: Vec<_> = (0..5)
            .map(|_| balancer.members()[0].endpoint.begin())
            .collect();

        let first = picks(&balancer, 1_000)
            .iter()
            .filter(|port| **port == 1)
            .count();

        // Only when both draws are the busy one.
        assert!((150..350).contains(&first), "{first}");
        drop(busy);
        assert_eq!(balancer.members()[0].endpoint.active(), 0);
    }

    #[test]
    fn what_was_tried_is_avoided_while_there_is_another() {
        let balancer = Balancer::random(members(&[1, 1, 1]));
        let (live, mut rng) = (Live::default(), fastrand::Rng::with_seed(3));
        let ids: Vec<u64> = balancer
            .members()
            .iter()
            .map(|member| member.endpoint.id)
            .collect();

        for _ in 0..100 {
            let picked = balancer
                .pick(&live, &mut rng, &avoiding(&ids[..2]))
                .expect("a member");
            assert_eq!(picked.endpoint.id, ids[2]);
        }
        assert!(balancer.pick(&live, &mut rng, &avoiding(&ids)).is_some());
    }

    #[test]
    fn nothing_is_picked_among_none() {
        let (live, mut rng) = (Live::default(), fastrand::Rng::with_seed(3));

        for balancer in [
            Balancer::random(vec![]),
            Balancer::round_robin(vec![]),
            Balancer::least_request(vec![]),
        ] {
            assert!(balancer.pick(&live, &mut rng, &Wish::default()).is_none());
        }
    }
}
