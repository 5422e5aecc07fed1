//! How much of the traffic each level and each zone gets, from what is available there.

/// Spare room that a level is taken to have: with 72 % of its endpoints it still takes everything.
const OVERPROVISION_PERCENT: usize = 140;

/// What is available of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitness {
    /// Endpoints that take requests.
    pub(super) available: usize,
    /// All endpoints, at least one.
    pub(super) all: usize,
}

/// What a level gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Share of the traffic, 0–100.
    pub(super) percent: u32,
    /// So little of it is available that all of its endpoints are used.
    pub(super) panics: bool,
}

/// The loads of levels, the first one preferred. What a level cannot take goes on to the next. They
/// total 100, or 0 if there is nobody to ask.
///
/// A level of which less than `panic_percent` is available is used as a whole, unless other levels can
/// take what it cannot; with 0 none ever is.
pub(super) fn loads(levels: &[Fitness], panic_percent: u32) -> Vec<Load> {
    let healths: Vec<u32> = levels.iter().map(Fitness::health).collect();
    let total = healths.iter().sum::<u32>().min(100);
    let spare = levels.len() > 1 && total == 100;
    let mut left = 100;
    let mut loads: Vec<Load> = levels
        .iter()
        .zip(&healths)
        .map(|(level, health)| {
            let percent = (health * 100).checked_div(total).unwrap_or(0).min(left);
            left -= percent;
            let panics = !spare && level.is_below(panic_percent);
            Load { percent, panics }
        })
        .collect();
    if total > 0 {
        // What rounding left over.
        if let Some(first) = loads.iter_mut().find(|load| load.percent > 0) {
            first.percent += left;
        }
    } else if panic_percent > 0 {
        share_out(levels, &mut loads);
    }
    loads
}

/// Nothing is available anywhere: each level gets as much as it has endpoints.
fn share_out(levels: &[Fitness], loads: &mut [Load]) {
    let all: usize = levels.iter().map(|level| level.all).sum();
    let mut left = 100;
    for (level, load) in levels.iter().zip(&mut *loads) {
        let percent = (100 * level.all).checked_div(all).unwrap_or(0);
        load.percent = u32::try_from(percent).unwrap_or(100);
        left -= load.percent.min(left);
    }
    if let Some(first) = loads.first_mut() {
        first.percent += left;
    }
}

/// Relative shares of zones for the requests of a caller in zone `own`, by how much each can take.
///
/// Everything stays in the own zone if it can take what its callers send; otherwise as much as it can,
/// and the rest goes to zones that can take more than their own callers send, by how much more. How
/// many callers other zones have is not known here: they are taken to be spread evenly over the zones.
pub(super) fn zone_shares(capacities: &[u64], own: usize) -> Vec<f64> {
    let zones = capacities.len() as f64;
    let total: u64 = capacities.iter().sum();
    // In parts of what the callers of one zone send.
    let parts = |capacity: u64| capacity as f64 * zones / (total.max(1)) as f64;
    let own_part = parts(capacities[own]).min(1.0);
    let surplus = |capacity: u64| (parts(capacity) - 1.0).max(0.0);
    let surpluses: f64 = capacities.iter().map(|it| surplus(*it)).sum();
    let share = |(zone, capacity): (usize, &u64)| match zone == own {
        true => own_part,
        false if own_part < 1.0 && surpluses > 0.0 => {
            (1.0 - own_part) * surplus(*capacity) / surpluses
        }
        false => 0.0,
    };
    capacities.iter().enumerate().map(share).collect()
}

// === impl Fitness ===

impl Fitness {
    /// How much of all traffic it can take, 0–100; 0 only if nothing is available.
    fn health(&self) -> u32 {
        let percent = OVERPROVISION_PERCENT * self.available / self.all.max(1);
        let least = usize::from(self.available > 0);
        percent.clamp(least, 100) as u32
    }

    fn is_below(&self, percent: u32) -> bool {
        self.available * 100 < self.all * percent as usize
    }

    /// The part of the own share of the traffic that it can take, 0–1.
    pub(super) fn part(&self) -> f64 {
        f64::from(self.health()) / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(levels: &[(usize, usize)], panic_percent: u32) -> Vec<(u32, bool)> {
        let fitness = |(available, all): &(usize, usize)| Fitness {
            available: *available,
            all: *all,
        };
        let levels: Vec<Fitness> = levels.iter().map(fitness).collect();
        let loads = loads(&levels, panic_percent);
        loads.iter().map(|it| (it.percent, it.panics)).collect()
    }

    #[test]
    fn what_a_level_cannot_take_goes_on_to_the_next() {
        for (levels, expected) in [
            (vec![(10, 10), (10, 10)], vec![100, 0]),
            (vec![(72, 100), (10, 10)], vec![100, 0]),
            (vec![(71, 100), (10, 10)], vec![99, 1]),
            (vec![(5, 10), (10, 10)], vec![70, 30]),
            (vec![(0, 10), (10, 10)], vec![0, 100]),
            (vec![(5, 10), (1, 10), (10, 10)], vec![70, 14, 16]),
            // Not enough anywhere: in proportion.
            (vec![(1, 4), (1, 4)], vec![50, 50]),
            (vec![(1, 10), (2, 10)], vec![34, 66]),
            (vec![(1, 1_000)], vec![100]),
            (vec![(0, 1), (0, 1)], vec![0, 0]),
            (vec![], vec![]),
        ] {
            let percents: Vec<u32> = percents(&levels, 0).iter().map(|it| it.0).collect();
            assert_eq!(percents, expected, "{levels:?}");
        }
    }

    #[test]
    fn a_level_with_too_little_left_is_used_as_a_whole() {
        assert_eq!(percents(&[(5, 10)], 50), [(100, false)]);
        assert_eq!(percents(&[(4, 10)], 50), [(100, true)]);
        assert_eq!(percents(&[(9, 10)], 95), [(100, true)]);
        assert_eq!(percents(&[(0, 10)], 1), [(100, true)]);
        assert_eq!(percents(&[(0, 10)], 0), [(0, false)]);
    }

    #[test]
    fn nobody_panics_while_another_level_can_take_it() {
        assert_eq!(
            percents(&[(1, 10), (10, 10)], 50),
            [(14, false), (86, false)]
        );
        assert_eq!(percents(&[(1, 10), (6, 10)], 50), [(15, true), (85, false)]);
        assert_eq!(percents(&[(0, 3), (0, 1)], 50), [(75, true), (25, true)]);
    }

    #[test]
    fn a_zone_keeps_what_it_can_take() {
        let shares = |capacities: &[u64], own| -> Vec<u64> {
            let shares = zone_shares(capacities, own);
            shares
                .iter()
                .map(|it| (it * 1_000.0).round() as u64)
                .collect()
        };

        assert_eq!(shares(&[3, 3, 3], 0), [1_000, 0, 0]);
        assert_eq!(shares(&[5, 2, 2], 0), [1_000, 0, 0]);
        assert_eq!(shares(&[2, 2, 5], 0), [667, 0, 333]);
        assert_eq!(shares(&[0, 1, 1], 0), [0, 500, 500]);
        assert_eq!(shares(&[1, 2, 5], 1), [0, 750, 250]);
        assert_eq!(shares(&[1], 0), [1_000]);
        assert_eq!(shares(&[0], 0), [0]);
    }
}
