//! What limits the retries to a destination, from the policy that is written for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::mesh::EffectivePolicy;

use crate::upstream::budget::{RetryLimit, Share, Window};
use crate::upstream::destination::Destination;

/// A budget takes the place of a number; neither can be written as zero.
pub(super) fn retry_limit(effective: &EffectivePolicy) -> RetryLimit {
    if let Some(budget) = &effective.retry_budget {
        let standard = Share::default();
        let interval = budget.budget_interval.map(config::value::Duration::get);
        return RetryLimit::Share(Share {
            millionths: budget
                .percent
                .map_or(standard.millionths, |percent| (percent.0 * 10_000.0) as u32),
            retries_min: budget
                .min_retry_concurrency
                .filter(|least| *least > 0)
                .unwrap_or(standard.retries_min),
            interval: interval.filter(|interval| !interval.is_zero()),
        });
    }
    let http = effective
        .connection_pool
        .as_ref()
        .and_then(|it| it.http.as_ref());
    let most = http.and_then(|http| u32::try_from(http.max_retries?).ok());
    match most.filter(|most| *most > 0) {
        Some(most) => RetryLimit::Count(most),
        None => RetryLimit::Standard,
    }
}

/// The window of a budget over `interval`: the one of before if it counts over the same time.
pub(super) fn window(
    interval: Option<Duration>,
    before: Option<&Destination>,
) -> Option<Arc<Window>> {
    let interval = interval?;
    let before = before.and_then(|before| before.window.as_ref());
    let same = before.filter(|window| window.is_over(interval));
    Some(match same {
        Some(same) => Arc::clone(same),
        None => Arc::new(Window::new(interval, Instant::now())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use config::resource::destination_rule::{ConnectionPool, HttpSettings, RetryBudget};
    use config::value::Number;

    fn max_retries(most: i32) -> EffectivePolicy {
        EffectivePolicy {
            connection_pool: Some(ConnectionPool {
                http: Some(HttpSettings {
                    max_retries: Some(most),
                    ..HttpSettings::default()
                }),
                ..ConnectionPool::default()
            }),
            ..EffectivePolicy::default()
        }
    }

    #[test]
    fn what_is_not_written_is_the_standard() {
        assert_eq!(
            retry_limit(&EffectivePolicy::default()),
            RetryLimit::Standard
        );
        assert_eq!(retry_limit(&max_retries(0)), RetryLimit::Standard);
        assert_eq!(retry_limit(&max_retries(7)), RetryLimit::Count(7));
    }

    #[test]
    fn a_budget_takes_the_place_of_a_number_and_has_defaults_of_its_own() {
        let mut policy = max_retries(7);
        policy.retry_budget = Some(RetryBudget::default());
        assert_eq!(retry_limit(&policy), RetryLimit::Share(Share::default()));

        policy.retry_budget = Some(RetryBudget {
            percent: Some(Number(12.5)),
            min_retry_concurrency: Some(9),
            budget_interval: "10s".parse().ok(),
        });
        let expected = Share {
            millionths: 125_000,
            retries_min: 9,
            interval: Some(Duration::from_secs(10)),
        };
        assert_eq!(retry_limit(&policy), RetryLimit::Share(expected));
    }
}
