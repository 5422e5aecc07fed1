//! What is expected of a request against what would become of it.

mod beside;

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::{self, HeaderName};
use serde::Serialize;

use super::written::{Expect, Limit};
use crate::explain::decision::beside::{Always, Faults};
use crate::explain::decision::{Decision, Failure, Forward, Outcome, Taken, Target};

/// An expectation that is not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    /// The field of `expect`.
    pub(super) field: String,
    pub(super) expected: String,
    pub(super) got: String,
}

/// Gathers differences.
#[derive(Default)]
struct Differences(Vec<Difference>);

/// What is expected of `decision` and not so.
pub(super) fn differences(expect: &Expect, decision: &Decision) -> Vec<Difference> {
    let mut found = Differences::default();
    rule(expect, decision, &mut found);
    answer(expect, decision, &mut found);
    let nothing = Vec::new();
    let forward = match &decision.outcome {
        Outcome::Forwarded(forward) => Some(&**forward),
        Outcome::Answered(_) | Outcome::Refused(_) => None,
    };
    let targets = forward.map_or(&nothing, |forward| &forward.targets);
    let possible: Vec<&Target> = targets
        .iter()
        .filter(|target| target.taken != Taken::Never)
        .collect();
    let otherwise = outcome(&decision.outcome);
    where_to(expect, decision, &possible, &otherwise, &mut found);
    if let Some(split) = &expect.split {
        let namespace = &decision.caller.namespace;
        found.check(
            "split",
            shares(split),
            targets_shares(targets, &otherwise),
            || is_split(split, targets, namespace),
        );
    }
    sent(expect, &possible, &otherwise, &mut found);
    response(expect, decision, &possible, &mut found);
    limits(expect, forward, &otherwise, &mut found);
    beside::faults(&expect.fault, decision.faults.as_ref(), &mut found);
    if let Some(expected) = &expect.mirrors {
        beside::mirrors(expected, decision, forward, &mut found);
    }
    if let Some(expected) = &expect.rate_limits {
        beside::rate_limits(expected, &decision.rate_limits, &mut found);
    }
    beside::endpoint(expect, &possible, &otherwise, &mut found);
    found.0
}

// === impl Differences ===

impl Differences {
    fn check(
        &mut self,
        field: impl Into<String>,
        expected: String,
        got: String,
        holds: impl FnOnce() -> bool,
    ) {
        if !holds() {
            self.0.push(Difference {
                field: field.into(),
                expected,
                got,
            });
        }
    }

    /// A field that must be `expected` for every one of `got`, of which there must be one.
    fn all(&mut self, field: &str, expected: &str, got: &[String], otherwise: &str) {
        let mut told = got.to_vec();
        told.dedup();
        let told = match told.is_empty() {
            true => otherwise.to_owned(),
            false => told.join(" or "),
        };
        self.check(field, expected.to_owned(), told, || {
            !got.is_empty() && got.iter().all(|it| it == expected)
        });
    }
}

/// What becomes of a request, in few words.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(failure) => format!("{} {}", failure.status, failure.error),
        Outcome::Answered(answer) => format!("{} {}", answer.status, answer.kind),
        Outcome::Forwarded(_) => "forwarded".to_owned(),
    }
}

fn rule(expect: &Expect, decision: &Decision, found: &mut Differences) {
    let rule = decision.rule();
    let none = || outcome(&decision.outcome);
    if let Some(expected) = &expect.rule {
        let got = rule.map_or_else(none, |rule| rule.name.clone());
        found.check("rule", expected.clone(), got.clone(), || got == *expected);
    }
    if let Some(expected) = &expect.virtual_service {
        let complete = match expected.contains('/') {
            true => expected.clone(),
            false => format!("{}/{expected}", decision.caller.namespace),
        };
        let written = rule.and_then(|rule| rule.written.as_ref());
        let resource = written.and_then(|it| it.resource.strip_prefix("VirtualService "));
        let got = resource.map_or_else(none, str::to_owned);
        found.check("virtualService", complete.clone(), got.clone(), || {
            got == complete
        });
    }
}

/// What the proxy answers itself, as status and error; also where a fault ends every request, or every
/// target that this one can have fails for certain.
fn own_answers(decision: &Decision) -> (Vec<u16>, Vec<String>) {
    let of = |failures: Vec<&Failure>| {
        let statuses = failures.iter().map(|it| it.status).collect();
        let errors = failures.iter().map(|it| it.error.clone()).collect();
        (statuses, errors)
    };
    match decision.faults.as_ref().and_then(Faults::of_every_request) {
        Some(Always::Abort(failure)) => return of(vec![failure]),
        Some(Always::Reset) => return Default::default(),
        None => {}
    }
    match &decision.outcome {
        Outcome::Refused(failure) => of(vec![failure]),
        Outcome::Answered(answer) => (vec![answer.status], Vec::new()),
        Outcome::Forwarded(forward) => {
            let possible = forward.targets.iter();
            let possible = possible.filter(|target| target.taken != Taken::Never);
            let failures: Option<Vec<_>> = possible.map(|it| it.failure.as_ref()).collect();
            of(failures.unwrap_or_default())
        }
    }
}

fn answer(expect: &Expect, decision: &Decision, found: &mut Differences) {
    let (statuses, errors) = own_answers(decision);
    let otherwise = outcome(&decision.outcome);
    if let Some(expected) = expect.status {
        let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
        found.all("status", &expected.to_string(), &statuses, &otherwise);
    }
    if let Some(expected) = &expect.error {
        found.all("error", expected, &errors, &otherwise);
    }
    if let Some(expected) = &expect.location {
        let location = match &decision.outcome {
            Outcome::Answered(answer) => answer.headers.get(header::LOCATION),
            Outcome::Refused(_) | Outcome::Forwarded(_) => None,
        };
        let location = location.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        found.all("location", expected, location.as_slice(), &otherwise);
    }
}

fn where_to(
    expect: &Expect,
    decision: &Decision,
    possible: &[&Target],
    otherwise: &str,
    found: &mut Differences,
) {
    if let Some(expected) = &expect.destination {
        let namespace = &decision.caller.namespace;
        // A host that is meant counts as what was written for it.
        let hosts = possible
            .iter()
            .map(|target| match is_host(target, expected, namespace) {
                true => expected.clone(),
                false => host(target).to_owned(),
            });
        let hosts: Vec<String> = hosts.collect();
        found.all("destination", expected, &hosts, otherwise);
    }
    if let Some(expected) = &expect.subset {
        let subsets = possible.iter().map(|target| {
            let subset = target.subset.as_deref();
            subset.unwrap_or("no subset").to_owned()
        });
        let subsets: Vec<String> = subsets.collect();
        found.all("subset", expected, &subsets, otherwise);
    }
}

/// The host of a target as completely as it is known.
fn host(target: &Target) -> &str {
    let destination = target.destination.as_ref();
    destination.map_or(&target.host, |destination| &destination.host)
}

/// Whether `name` means the host of a target: as it is written, or short for one in the caller's
/// namespace.
fn is_host(target: &Target, name: &str, namespace: &str) -> bool {
    name == target.host || is_name_of(name, host(target), namespace)
}

/// Whether `name` is a complete host, or short for it in `namespace`.
fn is_name_of(name: &str, complete: &str, namespace: &str) -> bool {
    let short = || {
        complete
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('.'))
    };
    let in_namespace = |rest: &str| {
        let rest = rest.strip_prefix(namespace);
        rest.is_some_and(|rest| rest.starts_with(".svc."))
    };
    name == complete || short().is_some_and(in_namespace)
}

/// Whether the targets have exactly these shares, whatever the numbers add up to. A target goes by
/// its subset, or by its host where there is none.
fn is_split(expected: &BTreeMap<String, u32>, targets: &[Target], namespace: &str) -> bool {
    let total: u128 = targets.iter().map(|target| u128::from(target.weight)).sum();
    let expected_total: u128 = expected.values().map(|share| u128::from(*share)).sum();
    let weight = |name: &str| -> u128 {
        let named = targets.iter().filter(|target| match &target.subset {
            Some(subset) => subset == name,
            None => is_host(target, name, namespace),
        });
        named.map(|target| u128::from(target.weight)).sum()
    };
    let mut shares = expected.iter();
    // Shares that add up to all leave nothing for others.
    total > 0
        && expected_total > 0
        && shares.all(|(name, share)| weight(name) * expected_total == u128::from(*share) * total)
}

fn shares(expected: &BTreeMap<String, u32>) -> String {
    let shares: Vec<String> = expected
        .iter()
        .map(|(name, share)| format!("{name}: {share}"))
        .collect();
    shares.join(", ")
}

fn targets_shares(targets: &[Target], otherwise: &str) -> String {
    let shares: Vec<String> = targets
        .iter()
        .map(|target| {
            let name = target.subset.as_deref().unwrap_or(host(target));
            format!("{name}: {}", target.percent)
        })
        .collect();
    match shares.is_empty() {
        true => otherwise.to_owned(),
        false => shares.join(", "),
    }
}

/// The request as the upstream gets it.
fn sent(expect: &Expect, possible: &[&Target], otherwise: &str, found: &mut Differences) {
    let sent: Vec<_> = possible.iter().filter_map(|it| it.sent.as_ref()).collect();
    if let Some(expected) = &expect.path {
        let paths: Vec<String> = sent.iter().map(|sent| sent.path.clone()).collect();
        found.all("path", expected, &paths, otherwise);
    }
    if let Some(expected) = &expect.host {
        let hosts: Vec<String> = sent.iter().map(|sent| sent.authority.clone()).collect();
        found.all("host", expected, &hosts, otherwise);
    }
    for (name, expected) in &expect.request_headers {
        let values: Vec<String> = sent.iter().map(|sent| value(&sent.headers, name)).collect();
        let expected = String::from_utf8_lossy(expected.as_bytes());
        found.all(
            &format!("requestHeaders.{name}"),
            &expected,
            &values,
            otherwise,
        );
    }
    for name in &expect.without_request_headers {
        let values: Vec<String> = sent.iter().map(|sent| value(&sent.headers, name)).collect();
        let field = format!("withoutRequestHeaders.{name}");
        found.all(&field, ABSENT, &values, otherwise);
    }
}

/// What stands for the value of a header that is not there.
const ABSENT: &str = "absent";

/// The value of a header, its lines joined.
fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines = headers.get_all(name).iter();
    let lines: Vec<String> = lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    match lines.is_empty() {
        true => ABSENT.to_owned(),
        false => lines.join(", "),
    }
}

/// What the proxy changes in the response, or puts into its own.
fn response(expect: &Expect, decision: &Decision, possible: &[&Target], found: &mut Differences) {
    let headers: Vec<&HeaderMap> = match &decision.outcome {
        Outcome::Answered(answer) => vec![&answer.headers],
        Outcome::Refused(_) => Vec::new(),
        Outcome::Forwarded(_) => possible.iter().map(|it| &it.response_headers).collect(),
    };
    let otherwise = outcome(&decision.outcome);
    for (name, expected) in &expect.response_headers {
        let values: Vec<String> = headers.iter().map(|headers| value(headers, name)).collect();
        let expected = String::from_utf8_lossy(expected.as_bytes());
        found.all(
            &format!("responseHeaders.{name}"),
            &expected,
            &values,
            &otherwise,
        );
    }
    for name in &expect.without_response_headers {
        let mut values: Vec<String> = headers.iter().map(|headers| value(headers, name)).collect();
        for (target, value) in possible.iter().zip(&mut values) {
            let removes = |it: &&_| is_removal(it, name);
            if *value == ABSENT && target.response_edits.iter().find(removes).is_none() {
                "as the upstream sends it".clone_into(value);
            }
        }
        let field = format!("withoutResponseHeaders.{name}");
        found.all(&field, ABSENT, &values, &otherwise);
    }
}

fn is_removal(edit: &crate::explain::decision::Edit, name: &HeaderName) -> bool {
    edit.change == "remove" && edit.name == name.as_str()
}

fn limits(expect: &Expect, forward: Option<&Forward>, otherwise: &str, found: &mut Differences) {
    let told = |limit: &Limit| limit.0.map_or("none".to_owned(), |it| format!("{it:?}"));
    let mut limit = |field: &str, expected: &Option<Limit>, got: Option<&Option<String>>| {
        if let Some(expected) = expected {
            let got = got.map(|got| got.clone().unwrap_or_else(|| "none".to_owned()));
            found.all(field, &told(expected), got.as_slice(), otherwise);
        }
    };
    limit("timeout", &expect.timeout, forward.map(|it| &it.timeout));
    let per_try = forward.map(|it| &it.retries.per_try_timeout);
    limit("perTryTimeout", &expect.per_try_timeout, per_try);
    if let Some(expected) = expect.retries {
        let got = forward.map(|it| it.retries.attempts.to_string());
        found.all("retries", &expected.to_string(), got.as_slice(), otherwise);
    }
}
