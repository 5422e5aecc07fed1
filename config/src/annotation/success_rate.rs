//! `meshproxy.io/outlier-success-rate`: ejection of endpoints that fail more often than the others.

use std::str::FromStr;

use super::{AnnotationError, number, options};

/// Which endpoints of a destination are outliers by their share of good answers. The defaults are
/// Envoy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// `stdev`, in thousandths: how many standard deviations below the mean is too low; 100–10 000,
    /// unset means 1 900.
    pub stdev_thousandths: u32,
    /// `hosts`: least endpoints with enough requests; 2–10 000, unset means 5.
    pub hosts_min: u32,
    /// `requests`: how many requests of an endpoint in an interval are enough; 1–1 000 000, unset
    /// means 100.
    pub requests_min: u32,
}

// === impl SuccessRate ===

impl SuccessRate {
    /// Name of the annotation.
    pub const ANNOTATION: &str = "meshproxy.io/outlier-success-rate";

    const STDEV: &str = "stdev";
    const HOSTS: &str = "hosts";
    const REQUESTS: &str = "requests";
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            stdev_thousandths: 1_900,
            hosts_min: 5,
            requests_min: 100,
        }
    }
}

impl FromStr for SuccessRate {
    type Err = AnnotationError;

    /// Reads `stdev=1.9;hosts=5;requests=100`, of which each part may be absent.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rate = Self::default();
        if text.trim().is_empty() {
            return Ok(rate);
        }
        for (name, value) in options(text, &[Self::STDEV, Self::HOSTS, Self::REQUESTS])? {
            match name {
                Self::STDEV => {
                    let stdev: f64 = number(name, value, 0.1..=10.0)?;
                    rate.stdev_thousandths = (stdev * 1_000.0).round() as u32;
                }
                Self::HOSTS => rate.hosts_min = number(name, value, 2..=10_000)?,
                _ => rate.requests_min = number(name, value, 1..=1_000_000)?,
            }
        }
        Ok(rate)
    }
}
