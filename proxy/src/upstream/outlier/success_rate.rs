//! Which endpoints fail more often than the others. Envoy's algorithm, as a function.

use super::Comparison;
use super::streaks::Volume;

/// Positions of endpoints whose success rate in the last interval was more than so many standard
/// deviations below the mean. Nobody is, where too few endpoints had enough requests to tell.
pub(super) fn outliers(volumes: &[Volume], comparison: Comparison) -> Vec<usize> {
    let enough = |volume: &Volume| volume.requests >= comparison.requests_min.max(1);
    let rates: Vec<(usize, f64)> = volumes
        .iter()
        .enumerate()
        .filter(|(_, volume)| enough(volume))
        .map(|(at, volume)| (at, f64::from(volume.successes) / f64::from(volume.requests)))
        .collect();
    if rates.is_empty() || rates.len() < comparison.hosts_min as usize {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates
        .iter()
        .map(|(_, rate)| (rate - mean).powi(2))
        .sum::<f64>()
        / count;
    let factor = f64::from(comparison.stdev_thousandths) / 1_000.0;
    let least = mean - factor * variance.sqrt();
    let low = rates.into_iter().filter(|(_, rate)| *rate < least);
    low.map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPARISON: Comparison = Comparison {
        stdev_thousandths: 1_900,
        hosts_min: 5,
        requests_min: 100,
    };

    fn rates(percents: &[u32]) -> Vec<Volume> {
        let volume = |percent: &u32| Volume {
            requests: 100,
            successes: *percent,
        };
        percents.iter().map(volume).collect()
    }

    #[test]
    fn who_fails_much_more_often_than_the_others_is_an_outlier() {
        assert_eq!(
            outliers(&rates(&[99, 98, 100, 50, 99, 99]), COMPARISON),
            [3]
        );
        assert!(outliers(&rates(&[50, 50, 50, 50, 50]), COMPARISON).is_empty());
        assert!(outliers(&rates(&[100, 90, 95, 97, 93]), COMPARISON).is_empty());
    }

    #[test]
    fn few_endpoints_or_few_requests_tell_nothing() {
        let mut volumes = rates(&[99, 98, 0, 99, 99]);
        assert_eq!(outliers(&volumes, COMPARISON), [2]);

        volumes[2].requests = 99;
        assert!(outliers(&volumes, COMPARISON).is_empty(), "four are left");
        volumes.push(rates(&[98])[0]);
        assert!(
            outliers(&volumes, COMPARISON).is_empty(),
            "not judged with so few requests"
        );
        assert!(outliers(&[], COMPARISON).is_empty());
    }

    #[test]
    fn a_larger_factor_is_more_patient() {
        let patient = Comparison {
            stdev_thousandths: 3_000,
            ..COMPARISON
        };
        assert!(outliers(&rates(&[99, 98, 100, 50, 99, 99]), patient).is_empty());
    }
}
