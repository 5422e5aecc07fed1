//! Positions drawn by weight, from a random number or from a key.

/// The parts of a whole, by which positions are drawn.
#[derive(Debug)]
pub(super) struct Draw {
    count: usize,
    /// Running totals of the weights; empty while all are equal.
    totals: Box<[u64]>,
}

// === impl Draw ===

impl Draw {
    /// Draws one of as many positions as there are weights.
    pub(super) fn new(weights: &[u64]) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let mut total = 0;
        let totals = weights.iter().map(|weight| {
            total += weight;
            total
        });
        Self {
            count: weights.len(),
            totals: if equal {
                Box::default()
            } else {
                totals.collect()
            },
        }
    }

    /// The position that `number` falls on, if numbers are spread evenly. The same number always falls
    /// on the same position.
    pub(super) fn at(&self, number: u64) -> usize {
        match self.totals.last() {
            None => scaled(number, self.count as u64) as usize,
            Some(total) => {
                let point = scaled(number, *total);
                self.totals.partition_point(|end| *end <= point)
            }
        }
    }
}

/// `number` scaled from the whole range of 64 bits to `0..end`, without a division.
fn scaled(number: u64, end: u64) -> u64 {
    let product = u128::from(number) * u128::from(end);
    // The high half of the product is below `end`.
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_falls_on_the_part_that_covers_it() {
        let draw = Draw::new(&[1, 0, 2, 1]);
        let quarter = 1_u64 << 62;

        for (number, expected) in [
            (0, 0),
            (quarter - 1, 0),
            (quarter, 2),
            (3 * quarter - 1, 2),
            (3 * quarter, 3),
            (u64::MAX, 3),
        ] {
            assert_eq!(draw.at(number), expected, "{number:x}");
        }
        let equal = Draw::new(&[5, 5]);
        assert_eq!((equal.at(0), equal.at(u64::MAX)), (0, 1));
    }
}
