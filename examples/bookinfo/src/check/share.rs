//! When a share of random draws is believable.

/// Standard deviations within which a share must lie. Five of them are left once in 1.7 million
/// runs by chance alone.
const SIGMAS: f64 = 5.0;

/// The counts that `draws` draws with probability `share` may give, as an inclusive range.
pub(crate) fn expected(draws: u32, share: f64) -> (u32, u32) {
    let mean = f64::from(draws) * share;
    let sigma = (f64::from(draws) * share * (1.0 - share)).sqrt();
    let low = (mean - SIGMAS * sigma).ceil().max(0.0);
    let high = (mean + SIGMAS * sigma).floor().min(f64::from(draws));
    // Both lie between 0 and `draws`.
    (low as u32, high as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_five_deviations_wide_on_both_sides() {
        assert_eq!(expected(10_000, 0.5), (4750, 5250));
        assert_eq!(expected(100, 0.0), (0, 0));
        assert_eq!(expected(4, 0.5), (0, 4));
    }
}
