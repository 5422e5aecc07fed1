//! How the endpoints of a destination are judged: `outlierDetection`, and the annotations beside it.

use std::sync::Arc;
use std::time::Duration;

use config::annotation::{HealthCheck, SuccessRate};
use config::mesh::HostPolicy;
use config::resource::destination_rule::OutlierDetection;
use config::value::Duration as Written;

use crate::upstream::destination::{DestinationKey, Protocol};
use crate::upstream::health::Check;
use crate::upstream::outlier::{Comparison, Detection, ErrorCodes, LocalFailures};

/// Failures in a row where nothing is said.
const FAILURES: u32 = 5;
/// Interval where nothing is said.
const INTERVAL: Duration = Duration::from_secs(10);
/// First ejection time where nothing is said.
const EJECTION: Duration = Duration::from_secs(30);
/// Limit of ejected endpoints where nothing is said.
const EJECTED_PERCENT_MAX: u32 = 10;

/// When endpoints are ejected.
pub(super) fn detection(written: &OutlierDetection, policy: &HostPolicy) -> Detection {
    let split = written.split_external_local_origin_errors == Some(true);
    let local = written.consecutive_local_origin_failures;
    let percent = written.max_ejection_percent.filter(|percent| *percent > 0);
    Detection {
        errors: errors(written),
        gateway_errors: written.consecutive_gateway_errors.unwrap_or(0),
        local_failures: match split {
            true => LocalFailures::Apart(local.unwrap_or(FAILURES)),
            false => LocalFailures::AsErrors,
        },
        codes: codes(&written.outlier_detection_http_error_codes),
        interval: written.interval.map_or(INTERVAL, Written::get),
        base: written.base_ejection_time.map_or(EJECTION, Written::get),
        ejected_percent_max: percent.map_or(EJECTED_PERCENT_MAX, i32::unsigned_abs),
        success_rate: annotation::<SuccessRate>(policy, SuccessRate::ANNOTATION).map(|rate| {
            Comparison {
                stdev_thousandths: rate.stdev_thousandths,
                hosts_min: rate.hosts_min,
                requests_min: rate.requests_min,
            }
        }),
    }
}

/// The old spelling has its effect where the new one is not written; Istio ignores it by now.
fn errors(written: &OutlierDetection) -> u32 {
    let old = || u32::try_from(written.consecutive_errors?).ok();
    written
        .consecutive_5xx_errors
        .or_else(old)
        .unwrap_or(FAILURES)
}

fn codes(written: &[u32]) -> ErrorCodes {
    if written.is_empty() {
        return ErrorCodes::ServerErrors;
    }
    let mut codes: Vec<u16> = written
        .iter()
        .filter_map(|code| u16::try_from(*code).ok())
        .collect();
    codes.sort_unstable();
    ErrorCodes::Listed(codes.into())
}

/// Whether endpoints are checked.
pub(super) fn has_checks(policy: &HostPolicy) -> bool {
    policy.annotation(HealthCheck::ANNOTATION).is_some()
}

/// How endpoints are checked, if they are.
pub(super) fn check(
    policy: &HostPolicy,
    key: &DestinationKey,
    protocol: Protocol,
) -> Option<Arc<Check>> {
    let written = annotation::<HealthCheck>(policy, HealthCheck::ANNOTATION)?;
    Some(Arc::new(Check {
        written,
        authority: key.authority().to_str().unwrap_or("localhost").to_owned(),
        http2: match protocol {
            Protocol::Http2 => true,
            Protocol::Http1 | Protocol::AsDownstream => false,
        },
    }))
}

/// Validation has seen to it that what is there can be read.
fn annotation<T: std::str::FromStr>(policy: &HostPolicy, name: &str) -> Option<T> {
    policy.annotation(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(written: OutlierDetection) -> Detection {
        detection(&written, &HostPolicy::default())
    }

    #[test]
    fn an_empty_block_has_the_defaults_of_the_api() {
        let expected = Detection {
            errors: 5,
            gateway_errors: 0,
            local_failures: LocalFailures::AsErrors,
            codes: ErrorCodes::ServerErrors,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            ejected_percent_max: 10,
            success_rate: None,
        };
        assert_eq!(of(OutlierDetection::default()), expected);

        let zero = OutlierDetection {
            max_ejection_percent: Some(0),
            ..OutlierDetection::default()
        };
        assert_eq!(of(zero), expected, "0 is unset here");
    }

    #[test]
    fn the_old_spelling_counts_where_the_new_one_is_not_written() {
        for (old, new, expected) in [
            (Some(2), None, 2),
            (Some(2), Some(3), 3),
            (None, Some(0), 0),
            (Some(0), None, 0),
            (Some(-1), None, FAILURES),
        ] {
            let written = OutlierDetection {
                consecutive_errors: old,
                consecutive_5xx_errors: new,
                ..OutlierDetection::default()
            };
            assert_eq!(of(written).errors, expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn local_failures_count_apart_only_when_they_are_split() {
        let split = |split, most| {
            of(OutlierDetection {
                split_external_local_origin_errors: split,
                consecutive_local_origin_failures: most,
                ..OutlierDetection::default()
            })
            .local_failures
        };

        assert_eq!(split(None, None), LocalFailures::AsErrors);
        assert_eq!(split(Some(false), Some(0)), LocalFailures::AsErrors);
        assert_eq!(split(Some(true), None), LocalFailures::Apart(5));
        assert_eq!(split(Some(true), Some(2)), LocalFailures::Apart(2));
    }

    #[test]
    fn listed_codes_take_the_place_of_server_errors() {
        let written = OutlierDetection {
            outlier_detection_http_error_codes: vec![503, 429],
            ..OutlierDetection::default()
        };
        let codes = of(written).codes;

        assert!(codes.has(429) && codes.has(503));
        assert!(!codes.has(500) && !codes.has(200));
    }
}
