//! Faults, mirrors, rate limits and endpoints that are expected, against those that there are.

use std::collections::BTreeMap;

use super::{Differences, is_name_of};
use crate::expect::written::{Expect, Fault, Limit, Scope};
use crate::explain::decision::beside::{Faults, Mirror, RateLimit, Scope as Told};
use crate::explain::decision::{Decision, Forward, Target};

/// Percents that differ by less are the same: shares are whole millionths.
const PERCENT_STEP: f64 = 0.000_05;
/// What stands for a thing that is not there.
const NONE: &str = "none";

/// What is expected of faults, field by field.
pub(super) fn faults(expect: &Fault, faults: Option<&Faults>, found: &mut Differences) {
    let delay = faults.and_then(|it| it.delay.as_ref());
    let abort = faults.and_then(|it| it.abort.as_ref());
    let reset = faults.and_then(|it| it.reset.as_ref());
    let slow = faults.and_then(|it| it.slow_body.as_ref());
    if let Some(expected) = &expect.delay {
        let got = delay.map_or(NONE, |it| &it.time);
        text("delay", &limit(expected), got, found);
    }
    percent(
        "delayPercent",
        expect.delay_percent,
        delay.map(|it| it.percent),
        found,
    );
    let status = abort.map(|it| u64::from(it.status));
    number("abort", expect.abort.map(u64::from), status, found);
    let grpc = abort.and_then(|it| it.grpc_status).map(u64::from);
    number(
        "abortGrpcStatus",
        expect.abort_grpc_status.map(u64::from),
        grpc,
        found,
    );
    percent(
        "abortPercent",
        expect.abort_percent,
        abort.map(|it| it.percent),
        found,
    );
    percent(
        "resetPercent",
        expect.reset_percent,
        reset.map(|it| it.percent),
        found,
    );
    let pace = slow.map(|it| it.bytes_per_second);
    number(
        "slowBodyBytesPerSecond",
        expect.slow_body_bytes_per_second,
        pace,
        found,
    );
    percent(
        "slowBodyPercent",
        expect.slow_body_percent,
        slow.map(|it| it.percent),
        found,
    );
    if let Some(expected) = expect.scope {
        let got = faults.map_or(NONE, |faults| match faults.scope {
            Told::Request => Scope::Request.as_str(),
            Told::Attempt => Scope::Attempt.as_str(),
        });
        text("scope", expected.as_str(), got, found);
    }
}

fn text(field: &str, expected: &str, got: &str, found: &mut Differences) {
    let field = format!("fault.{field}");
    found.check(field, expected.to_owned(), got.to_owned(), || {
        expected == got
    });
}

fn number(field: &str, expected: Option<u64>, got: Option<u64>, found: &mut Differences) {
    if let Some(expected) = expected {
        let got = got.map_or(NONE.to_owned(), |got| got.to_string());
        text(field, &expected.to_string(), &got, found);
    }
}

/// A fault that is not there meets nobody.
fn percent(field: &str, expected: Option<f64>, got: Option<f64>, found: &mut Differences) {
    if let Some(expected) = expected {
        let got = got.unwrap_or_default();
        let field = format!("fault.{field}");
        found.check(field, expected.to_string(), got.to_string(), || {
            is_same(expected, got)
        });
    }
}

fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() < PERCENT_STEP
}

fn limit(limit: &Limit) -> String {
    limit.0.map_or(NONE.to_owned(), |it| format!("{it:?}"))
}

/// All mirrors with their shares.
pub(super) fn mirrors(
    expected: &BTreeMap<String, f64>,
    decision: &Decision,
    forward: Option<&Forward>,
    found: &mut Differences,
) {
    let namespace = &decision.caller.namespace;
    let mirrors = forward.map_or(&[][..], |it| &it.mirrors);
    // What leads nowhere gets no copy.
    let sent: Vec<&Mirror> = mirrors
        .iter()
        .filter(|it| it.destination.is_some())
        .collect();
    let named = |name: &str| -> Vec<f64> {
        let is_meant = |it: &&&Mirror| match &it.subset {
            Some(subset) => subset == name,
            None => is_name_of(name, &it.host, namespace),
        };
        sent.iter().filter(is_meant).map(|it| it.percent).collect()
    };
    let told = mirrors.iter().map(|it| {
        let nowhere = it.destination.is_none();
        let nowhere = if nowhere { " (leads nowhere)" } else { "" };
        format!(
            "{}: {}{nowhere}",
            it.subset.as_deref().unwrap_or(&it.host),
            it.percent
        )
    });
    let expects = expected
        .iter()
        .map(|(name, percent)| format!("{name}: {percent}"));
    found.check("mirrors", list(expects), list(told), || {
        let mut meant = 0;
        let all = expected.iter().all(|(name, percent)| {
            let shares = named(name);
            meant += shares.len();
            is_same(shares.iter().sum(), *percent)
        });
        all && meant == sent.len()
    });
}

/// All limits that count the request.
pub(super) fn rate_limits(expected: &[String], limits: &[RateLimit], found: &mut Differences) {
    let complete = |limit: &RateLimit| format!("{}/{}", limit.policy, limit.limit);
    let got: Vec<String> = limits.iter().map(complete).collect();
    let is_meant = |name: &str, complete: &str| {
        let rest = complete.strip_suffix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    let holds = got
        .iter()
        .all(|it| expected.iter().any(|name| is_meant(name, it)))
        && expected
            .iter()
            .all(|name| got.iter().any(|it| is_meant(name, it)));
    let expects = expected.iter().cloned();
    found.check(
        "rateLimits",
        list(expects),
        list(got.iter().cloned()),
        || holds,
    );
}

/// The endpoint that is asked, where no draw takes part.
pub(super) fn endpoint(
    expect: &Expect,
    possible: &[&Target],
    otherwise: &str,
    found: &mut Differences,
) {
    if let Some(expected) = &expect.endpoint {
        let endpoints = possible.iter().map(|target| {
            let destination = target.destination.as_ref();
            match destination.and_then(|it| it.endpoint.as_ref()) {
                Some(endpoint) => endpoint.clone(),
                None => "one that is drawn".to_owned(),
            }
        });
        let endpoints: Vec<String> = endpoints.collect();
        found.all("endpoint", expected, &endpoints, otherwise);
    }
}

/// Words for people; `none` where there are none.
fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => NONE.to_owned(),
        false => items.join(", "),
    }
}
