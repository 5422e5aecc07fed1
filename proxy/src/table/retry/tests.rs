use super::*;

use http::HeaderValue;
use proptest::prelude::*;

const GET: Asked = Asked {
    idempotent: true,
    grpc: false,
};
const POST: Asked = Asked {
    idempotent: false,
    grpc: false,
};
const CALL: Asked = Asked {
    idempotent: false,
    grpc: true,
};

fn on(conditions: &str) -> RetryPolicy {
    RetryPolicy::compile(Some(&HttpRetry {
        attempts: 2,
        retry_on: Some(conditions.to_owned()),
        ..HttpRetry::default()
    }))
}

fn answered(policy: &RetryPolicy, status: u16, grpc_status: Option<&'static str>) -> Option<Cause> {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut headers = HeaderMap::new();
    if let Some(code) = grpc_status {
        headers.insert("grpc-status", HeaderValue::from_static(code));
    }
    let asked = if grpc_status.is_some() { CALL } else { POST };
    policy.cause(Ended::Answered(status, &headers), asked)
}

#[test]
fn by_default_only_what_was_not_processed_is_repeated() {
    let standard = RetryPolicy::standard();

    for asked in [GET, POST, CALL] {
        for (ended, cause) in [
            (Ended::NotConnected, Cause::ConnectFailure),
            (Ended::Unsent, Cause::ResetBeforeRequest),
            (Ended::Refused, Cause::RefusedStream),
        ] {
            assert_eq!(standard.cause(ended, asked), Some(cause));
        }
        for ended in [Ended::Reset, Ended::TimedOut, Ended::Final] {
            assert_eq!(standard.cause(ended, asked), None);
        }
    }
    assert!(standard.cause(Ended::ClosedWhileIdle, GET).is_some());
    assert!(standard.cause(Ended::ClosedWhileIdle, POST).is_none());
    for status in [200, 409, 429, 500, 502, 503, 504] {
        assert_eq!(answered(&standard, status, None), None, "{status}");
    }
    assert_eq!(answered(&standard, 200, Some("14")), None);
}

#[test]
fn each_condition_means_what_the_api_says() {
    for (conditions, statuses) in [
        ("5xx", &[500, 502, 503, 504, 511][..]),
        ("gateway-error", &[502, 503, 504]),
        ("retriable-4xx", &[409]),
        ("503,418", &[503, 418]),
        ("retriable-status-codes", &[]),
        ("retriable-headers", &[]),
        ("reset", &[]),
    ] {
        let policy = on(conditions);
        for status in [200, 404, 409, 418, 429, 500, 502, 503, 504, 511] {
            let repeated = answered(&policy, status, None).is_some();
            assert_eq!(
                repeated,
                statuses.contains(&status),
                "{conditions} {status}"
            );
        }
    }
}

#[test]
fn what_was_lost_is_repeated_by_the_conditions_that_name_it() {
    for (conditions, connect, refused, idle_post, lost) in [
        ("5xx", true, true, true, true),
        ("gateway-error", true, true, true, true),
        ("reset", true, true, true, true),
        ("reset-before-request", true, true, false, false),
        ("connect-failure", true, false, false, false),
        ("refused-stream", false, true, false, false),
        ("retriable-4xx", false, false, false, false),
        ("503", false, false, false, false),
    ] {
        let policy = on(conditions);
        let repeated = |ended| policy.cause(ended, POST).is_some();

        assert_eq!(repeated(Ended::NotConnected), connect, "{conditions}");
        assert_eq!(repeated(Ended::Refused), refused, "{conditions}");
        assert_eq!(repeated(Ended::ClosedWhileIdle), idle_post, "{conditions}");
        assert_eq!(repeated(Ended::Reset), lost, "{conditions}");
        assert_eq!(repeated(Ended::TimedOut), lost, "{conditions}");
        assert!(repeated(Ended::Unsent), "{conditions}");
        assert!(!repeated(Ended::Final), "{conditions}");
    }
}

#[test]
fn grpc_statuses_count_for_calls_alone() {
    for (condition, code) in [
        ("cancelled", "1"),
        ("deadline-exceeded", "4"),
        ("resource-exhausted", "8"),
        ("internal", "13"),
        ("unavailable", "14"),
    ] {
        let policy = on(condition);
        for said in ["0", "1", "4", "8", "13", "14", "x"] {
            let repeated = answered(&policy, 200, Some(said)).is_some();
            assert_eq!(repeated, said == code, "{condition} {said}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static(code));
        let ended = Ended::Answered(StatusCode::OK, &headers);
        assert_eq!(policy.cause(ended, POST), None, "no call of gRPC");
    }
}

#[test]
fn an_answer_of_a_rate_limit_is_repeated_only_where_the_rule_says_so() {
    let mut headers = HeaderMap::new();
    headers.insert(RATE_LIMITED, HeaderValue::from_static("true"));
    let limited = Ended::Answered(StatusCode::SERVICE_UNAVAILABLE, &headers);

    assert_eq!(on("5xx,503").cause(limited, GET), None);
    assert_eq!(
        on("envoy-ratelimited").cause(limited, GET),
        Some(Cause::RateLimited)
    );
}

#[test]
fn no_attempts_means_no_retry_and_no_limit_of_the_attempt() {
    let none = RetryPolicy::compile(Some(&HttpRetry::default()));

    assert_eq!(none.cause(Ended::NotConnected, GET), None);
    assert_eq!(none.per_try_timeout, None);
    assert!(!none.retries(GET));
}

#[test]
fn to_the_own_workload_no_call_of_grpc_is_repeated() {
    let inbound = RetryPolicy::inbound();

    assert!(inbound.cause(Ended::NotConnected, POST).is_some());
    assert!(inbound.cause(Ended::Reset, GET).is_none());
    assert!(inbound.cause(Ended::NotConnected, CALL).is_none());
}

#[test]
fn a_body_is_worth_keeping_only_if_it_could_be_sent_again() {
    assert!(!on("connect-failure").repeats_sent(POST));
    assert!(!RetryPolicy::inbound().repeats_sent(POST));
    assert!(RetryPolicy::inbound().repeats_sent(GET));
    assert!(on("503").repeats_sent(POST));
    assert!(on("5xx").repeats_sent(POST));
}

#[test]
fn every_cause_stands_at_its_number_and_has_a_name_of_its_own() {
    for (number, cause) in Cause::ALL.iter().enumerate() {
        assert_eq!(*cause as usize, number);
        let same = Cause::ALL.iter().filter(|it| it.as_str() == cause.as_str());
        assert_eq!(same.count(), 1);
    }
}

#[test]
fn later_attempts_go_far_only_if_asked() {
    let near = RetryPolicy::standard();
    let far = RetryPolicy {
        goes_far: true,
        ..near.clone()
    };

    assert!(!near.prefers_far(10));
    assert!(!far.prefers_far(1));
    assert!(far.prefers_far(2));
}

proptest! {
    #[test]
    fn waits_grow_and_stay_bounded(base in 1_u64..100_000, retry in 1_u32..200, random: u64) {
        let policy = RetryPolicy {
            backoff: Duration::from_millis(base),
            ..RetryPolicy::standard()
        };

        let wait = policy.backoff(retry, random);

        let doubled = u64::from(2_u32.saturating_pow(retry - 1)).saturating_mul(base);
        prop_assert!(wait <= Duration::from_millis(doubled.min(base * 10)));
        prop_assert_eq!(policy.backoff(retry, 0), Duration::ZERO);
    }
}
