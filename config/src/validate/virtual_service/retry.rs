//! Retries and injected faults.

use crate::fault::grpc_status;
use crate::resource::virtual_service::{FaultAbort, FaultDelay, HttpFaultInjection, HttpRetry};
use crate::validate::field;
use crate::validate::findings::Findings;
use crate::value::Percent;

/// Conditions of `retryOn` besides status codes.
const CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Checks a retry policy.
pub(super) fn check_retries(retries: Option<&HttpRetry>, f: &mut Findings) {
    let Some(retries) = retries else {
        return;
    };
    f.field("retries", |f| {
        let retry_on = field::written(retries.retry_on.as_ref());
        field::not_negative("attempts", Some(retries.attempts), f);
        if retries.attempts == 0 {
            for (name, is_set) in [
                ("perTryTimeout", retries.per_try_timeout.is_some()),
                ("retryOn", retry_on.is_some()),
                (
                    "retryRemoteLocalities",
                    retries.retry_remote_localities.is_some(),
                ),
            ] {
                if is_set {
                    f.error_in(
                        name,
                        "must not be set with attempts 0, which disables retries",
                    );
                }
            }
        }
        field::duration("perTryTimeout", retries.per_try_timeout, f);
        field::duration("backoff", retries.backoff, f);
        for condition in retry_on.into_iter().flat_map(|list| list.split(',')) {
            if !CONDITIONS.contains(&condition) && !is_status(condition) {
                f.error_in(
                    "retryOn",
                    format!(
                        "must be conditions such as \"5xx\" or status codes, separated by commas \
                         without spaces, got \"{condition}\""
                    ),
                );
            }
        }
    });
}

/// Whether the text is a registered status code.
fn is_status(text: &str) -> bool {
    matches!(
        text.parse::<u16>(),
        Ok(
            100..=103
            | 200..=208
            | 226
            | 300..=305
            | 307
            | 308
            | 400..=418
            | 421..=426
            | 428
            | 429
            | 431
            | 451
            | 500..=508
            | 510
            | 511,
        )
    )
}

/// Checks injected faults.
pub(super) fn check_fault(fault: Option<&HttpFaultInjection>, f: &mut Findings) {
    let Some(fault) = fault else {
        return;
    };
    f.field("fault", |f| {
        if fault.abort.is_none() && fault.delay.is_none() {
            f.error("must have delay or abort or both");
        }
        if let Some(delay) = &fault.delay {
            f.field("delay", |f| check_delay(delay, f));
        }
        if let Some(abort) = &fault.abort {
            f.field("abort", |f| check_abort(abort, f));
        }
    });
}

fn check_delay(delay: &FaultDelay, f: &mut Findings) {
    check_percent(delay.percent, f);
    check_share(delay.percentage, f);
    field::duration("fixedDelay", delay.fixed_delay, f);
    if delay.exponential_delay.is_some() {
        f.error_in("exponentialDelay", "is not supported, use fixedDelay");
    } else if delay.fixed_delay.is_none() {
        f.warn("has no effect without fixedDelay");
    }
    check_has_share(delay.percentage, delay.percent, f);
}

fn check_abort(abort: &FaultAbort, f: &mut Findings) {
    check_percent(abort.percent, f);
    check_share(abort.percentage, f);
    if abort.http2_error.is_some() {
        f.error_in(
            "http2Error",
            "is not supported, use httpStatus or grpcStatus",
        );
    }
    match (abort.http_status, &abort.grpc_status) {
        (Some(_), Some(_)) => f.error("must have only one of httpStatus and grpcStatus"),
        (Some(status), None) => {
            f.require_in("httpStatus", field::in_range(status, &(200..=599)));
        }
        (None, Some(status)) if grpc_status(status).is_none() => {
            f.error_in(
                "grpcStatus",
                format!("must be a gRPC status such as UNAVAILABLE, got \"{status}\""),
            );
        }
        (None, None) if abort.http2_error.is_none() => {
            f.warn("has no effect without httpStatus or grpcStatus");
        }
        (None, _) => {}
    }
    check_has_share(abort.percentage, abort.percent, f);
}

/// Without a share a fault meets nobody, which hardly anybody means.
fn check_has_share(percentage: Option<Percent>, percent: Option<i32>, f: &mut Findings) {
    if percentage.is_none() && percent.is_none() {
        f.warn("has no effect without percentage");
    }
}

fn check_percent(percent: Option<i32>, f: &mut Findings) {
    if let Some(percent) = percent {
        f.require_in("percent", field::in_range(percent, &(0..=100)));
    }
}

fn check_share(percentage: Option<Percent>, f: &mut Findings) {
    let Some(percent) = percentage.filter(|percent| !percent.is_share()) else {
        return;
    };
    f.error_in(
        "percentage.value",
        format!(
            "must be 0 or from {} to 100, got {}",
            Percent::MIN,
            percent.value
        ),
    );
}
