//! For generated configurations and requests: what `explain` says of a request is what the pipeline
//! then does with it, up to the bytes that the upstream gets.

use std::cell::Cell;
use std::collections::HashSet;

use http::HeaderMap;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use tokio::runtime::{Builder, LocalOptions};

use super::generated::{Sent, mesh, request};
use super::scene::{SOURCE, Scene, Seen};
use crate::explain::asked::Asked;
use crate::explain::decision::beside::{Always, Faults, RateLimit, Scope};
use crate::explain::decision::{Answer, Decision, Failure, Forward, Outcome, Taken, Target};
use crate::request::path::Normalization;

/// Generated configurations.
const CONFIGURATIONS: u32 = 400;
/// Requests to each of them.
const REQUESTS: usize = 25;
/// Headers that are made for each request or attempt, that frame, or that are this test's question.
const NOT_TOLD: [&str; 5] = [
    "content-length",
    "grpc-timeout",
    "x-envoy-attempt-count",
    "x-meshproxy-explain",
    "x-request-id",
];

/// Keys of limits that let one request pass: used up by the first.
type Used = HashSet<String>;

/// How often each kind of thing was seen.
#[derive(Default)]
struct Counts {
    forwarded: Cell<usize>,
    refused: Cell<usize>,
    answered: Cell<usize>,
    /// By a limit.
    limited: Cell<usize>,
    /// By a fault.
    faulted: Cell<usize>,
    delayed: Cell<usize>,
    mirrored: Cell<usize>,
    /// The endpoint was certain among several.
    keyed: Cell<usize>,
}

#[test]
fn what_is_explained_is_what_happens() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the system gives an event queue");
    let config = Config {
        cases: CONFIGURATIONS,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let requests = proptest::collection::vec(request(), REQUESTS);
    let counts = Counts::default();

    let result = runner.run(&(mesh(), requests), |(generated, requests)| {
        let mut scene = Scene::new(&generated);
        let mut used = Used::new();
        let mut copies = 0;
        for sent in requests {
            let asked = asked(&sent);
            let decision = scene.explain(&asked);
            let seen = scene.happens(&runtime, &asked);
            let agreed = compare(&decision, &seen, &mut used, &counts);
            copies += agreed.map_err(|difference| {
                let told = serde_json::to_string_pretty(&decision).unwrap_or_default();
                TestCaseError::fail(format!("{difference}\n{sent:?}\n{told}\n{}", seen.account))
            })?;
        }
        same("copies", copies, scene.copies(&runtime)).map_err(TestCaseError::fail)
    });

    result.unwrap_or_else(|error| panic!("{error}"));
    counts.check();
}

// === impl Counts ===

impl Counts {
    /// That everything was seen often enough to mean something.
    fn check(&self) {
        for (name, count, least) in [
            ("forwarded", &self.forwarded, 1_000),
            ("refused", &self.refused, 1_000),
            ("answered", &self.answered, 500),
            ("limited", &self.limited, 100),
            ("faulted", &self.faulted, 100),
            ("delayed", &self.delayed, 20),
            ("mirrored", &self.mirrored, 50),
            ("keyed", &self.keyed, 100),
        ] {
            let count = count.get();
            assert!(count > least, "only {count} requests were {name}");
        }
    }
}

fn count(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

fn asked(sent: &Sent) -> Asked {
    let headers = sent.headers.iter().map(|(name, value)| {
        let value = http::HeaderValue::from_static(value);
        (http::HeaderName::from_static(name), value)
    });
    Asked {
        method: sent.method.parse().expect("a method"),
        url: format!("http://{}{}", sent.authority, sent.target)
            .parse()
            .expect("a URL"),
        headers: headers.collect(),
        source: Some(SOURCE),
        principal: None,
        normalization: Normalization::default(),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: T, seen: T) -> Result<(), String> {
    match told == seen {
        true => Ok(()),
        false => Err(format!("{what}: told {told:?}, seen {seen:?}")),
    }
}

/// Copies that were to come to the mirror, or how what was told differs from what was seen.
fn compare(
    decision: &Decision,
    seen: &Seen,
    used: &mut Used,
    counts: &Counts,
) -> Result<usize, String> {
    if !matches!(decision.outcome, Outcome::Refused(_)) {
        rule(decision, seen)?;
    }
    let faults = decision.faults.as_ref();
    let delayed = faults.is_some_and(|it| it.scope == Scope::Request && it.delay.is_some());
    if delayed {
        count(&counts.delayed);
        same("delayed", true, seen.flags().contains(&"DI"))?;
    }
    match faults.and_then(Faults::of_every_request) {
        Some(Always::Abort(failure)) => {
            count(&counts.faulted);
            return failed(failure, seen).map(|()| 0);
        }
        Some(Always::Reset) => {
            count(&counts.faulted);
            return same("reset", true, seen.reset).map(|()| 0);
        }
        None => same("reset", false, seen.reset)?,
    }
    if limited(&decision.rate_limits, seen, used)? {
        count(&counts.limited);
        return Ok(0);
    }
    match &decision.outcome {
        Outcome::Refused(failure) => {
            count(&counts.refused);
            failed(failure, seen).map(|()| 0)
        }
        Outcome::Answered(answer) => {
            count(&counts.answered);
            answered(answer, seen).map(|()| 0)
        }
        Outcome::Forwarded(forward) => {
            count(&counts.forwarded);
            forwarded(forward, seen, counts)
        }
    }
}

fn rule(decision: &Decision, seen: &Seen) -> Result<(), String> {
    let account = |name: &str| seen.account.get(name).and_then(Value::as_str);
    let number = |name: &str| seen.account.get(name).and_then(Value::as_u64);
    let written = decision.rule().and_then(|rule| rule.written.as_ref());
    let resource = written.map(|it| it.resource.replace("VirtualService ", ""));
    let name = decision.rule().map(|rule| rule.name.as_str());
    same("rule", name, account("rule"))?;
    // A delegate's rules are told as its own.
    same("resource", resource.as_deref(), account("virtualService"))?;
    same("http", written.map(|it| u64::from(it.http)), number("http"))?;
    let block = written.map(|it| u64::from(it.block));
    same("match", block, number("match"))
}

/// Whether a limit refuses the request: each lets one pass for each of its keys, and who is refused
/// uses up none.
fn limited(limits: &[RateLimit], seen: &Seen, used: &mut Used) -> Result<bool, String> {
    let keys: Vec<(String, String)> = limits
        .iter()
        .map(|limit| {
            let name = format!("{}/{}", limit.policy, limit.limit);
            let values: Vec<&str> = limit.key.iter().map(|it| &*it.value).collect();
            (name.clone(), format!("{name} {values:?}"))
        })
        .collect();
    let refusing = keys.iter().filter(|(_, key)| used.contains(key));
    let refusing: Vec<&str> = refusing.map(|(name, _)| name.as_str()).collect();
    let refused = seen.account.get("rateLimit").and_then(Value::as_str);
    same("limited", !refusing.is_empty(), refused.is_some())?;
    let Some(refused) = refused else {
        used.extend(keys.into_iter().map(|(_, key)| key));
        return Ok(false);
    };
    same("by one of the limits", true, refusing.contains(&refused))?;
    same("flagged", true, seen.flags().contains(&"RL"))?;
    Ok(true)
}

fn failed(failure: &Failure, seen: &Seen) -> Result<(), String> {
    let error = seen.response.headers().get("x-meshproxy-error");
    let error = error.and_then(|error| error.to_str().ok());
    same("error", Some(failure.error.as_str()), error)?;
    // A delay goes before what it does not cause.
    let mut flags = seen.flags();
    flags.retain(|flag| *flag != "DI");
    same("flags", failure.flags.as_str(), &*flags.join(","))?;
    same("status", failure.status, seen.response.status().as_u16())
}

fn answered(answer: &Answer, seen: &Seen) -> Result<(), String> {
    same("status", answer.status, seen.response.status().as_u16())?;
    same("body", answer.body_bytes, seen.response.body().len() as u64)?;
    let mut headers = seen.response.headers().clone();
    headers.remove("x-meshproxy-explain");
    same("headers", &answer.headers, &headers)
}

fn forwarded(forward: &Forward, seen: &Seen, counts: &Counts) -> Result<usize, String> {
    let destination = seen.account.get("destination").and_then(Value::as_str);
    let could = |target: &&Target| target.taken != Taken::Never && leads_to(target, destination);
    let target = forward.targets.iter().find(could);
    let target = target.ok_or_else(|| format!("no target leads to {destination:?}"))?;
    let certain = forward.targets.iter().find(|it| it.taken == Taken::Always);
    if let Some(certain) = certain
        && !std::ptr::eq(certain, target)
    {
        return Err(format!("certain was {} {:?}", certain.host, certain.subset));
    }
    // What cannot be sent, cannot be copied.
    let copied = target.destination.is_some() && target.sent.is_some();
    let mirrors = forward.mirrors.iter().filter(|_| copied);
    let mirrors: Vec<&str> = mirrors.filter_map(|it| it.destination.as_deref()).collect();
    same("mirrors", &*mirrors, &*seen.list("mirrors"))?;
    mirrors.iter().for_each(|_| count(&counts.mirrored));
    if let Some(failure) = &target.failure {
        return failed(failure, seen).map(|()| mirrors.len());
    }
    same("status", 200, seen.response.status().as_u16())?;
    sent(target, seen, counts)?;
    let headers = seen.response.headers();
    for name in target.response_headers.keys() {
        let lines = |headers: &HeaderMap| -> Vec<http::HeaderValue> {
            headers.get_all(name).iter().cloned().collect()
        };
        same(
            name.as_str(),
            lines(&target.response_headers),
            lines(headers),
        )?;
    }
    let removed = target.response_edits.iter().any(|edit| edit.name == "up");
    same("removed", removed, !headers.contains_key("up"))?;
    Ok(mirrors.len())
}

fn leads_to(target: &Target, destination: Option<&str>) -> bool {
    let key = target.destination.as_ref().map(|it| it.key.as_str());
    key == destination
}

/// What the upstream got, against what was told.
fn sent(target: &Target, seen: &Seen, counts: &Counts) -> Result<(), String> {
    let told = target.sent.as_ref().ok_or("told that nothing is sent")?;
    let text = std::str::from_utf8(seen.response.body()).map_err(|error| error.to_string())?;
    let mut lines = text.split("\r\n");
    let endpoint = lines.next().unwrap_or_default();
    let destination = target.destination.as_ref();
    let endpoints = destination.iter().flat_map(|it| &it.endpoints);
    let addresses: Vec<&str> = endpoints.map(|it| it.address.as_str()).collect();
    if !addresses.contains(&endpoint) {
        return Err(format!("endpoints: told {addresses:?}, seen {endpoint}"));
    }
    let certain = destination.and_then(|it| it.endpoint.as_deref());
    if let Some(certain) = certain {
        same("endpoint", certain, endpoint)?;
        if addresses.len() > 1 {
            count(&counts.keyed);
        }
    }
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    same("path", Some(told.path.as_str()), path)?;
    let mut got: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "host" => same("authority", told.authority.as_str(), value)?,
            name if NOT_TOLD.contains(&name) => {}
            name => got.push((name.to_owned(), value.to_owned())),
        }
    }
    let told = told.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    let mut told: Vec<(String, String)> = told.collect();
    told.sort();
    got.sort();
    same("headers", told, got)
}
