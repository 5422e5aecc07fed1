//! `RateLimitPolicy`: whom it concerns, and that every limit has numbers that can be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration as Span;

use crate::decode::words::{nearest, quote};
use crate::resource::rate_limit_policy::{
    Dimension, Limit, LimitService, Override, RateLimitPolicy, Scope, TargetRef,
};
use crate::resource::virtual_service::HttpMatch;
use crate::validate::findings::Findings;
use crate::validate::{field, header, host, virtual_service};
use crate::value::Duration;

/// Most limits of a policy: every request is held against each of them.
const LIMITS_MAX: usize = 64;
/// Most overrides of a limit: they are tried one after the other.
const OVERRIDES_MAX: usize = 256;
/// Most dimensions of a key or an override.
const DIMENSIONS_MAX: usize = 8;
/// Shortest time from one request to the next that is counted exactly enough: whole nanoseconds are
/// off by 1 % here.
const INTERVAL_NANOS_MIN: u128 = 100;
/// Longest span in hours, a year.
const PER_HOURS_MAX: u64 = 8_760;
/// Longest wait for a rate-limit service.
const TIMEOUT_MAX: Span = Span::from_secs(10);
/// The spans that the API of rate-limit services has a name for, in seconds.
const SHARED_UNITS: [u64; 4] = [1, 60, 3_600, 86_400];

const GROUP: &str = "networking.istio.io";
const KIND: &str = "VirtualService";

/// Checks a `RateLimitPolicy`.
pub(crate) fn check(policy: &RateLimitPolicy, f: &mut Findings) {
    if let Some(selector) = &policy.selector {
        f.field("selector", |f| {
            field::labels("matchLabels", &selector.match_labels, f);
        });
        if !policy.target_refs.is_empty() {
            f.error_in("targetRefs", "must not be set together with selector");
        }
    }
    let mut targets = BTreeSet::new();
    f.each("targetRefs", &policy.target_refs, |f, target| {
        check_target(target, f);
        if !targets.insert(&target.name) {
            f.error_in("name", "must not be named twice");
        }
    });
    let shared = policy.scope == Some(Scope::Shared);
    match &policy.service {
        Some(service) if shared => f.field("service", |f| check_service(service, f)),
        Some(_) => f.error_in("service", "must not be set without scope SHARED"),
        None if shared => f.error_in("service", "is required with scope SHARED"),
        None => {}
    }
    check_limits(&policy.limits, shared, f);
    // Elsewhere it may be the name that was asked for, which may be short.
    if !policy.target_refs.is_empty() {
        check_hosts(&policy.limits, f);
    }
}

/// Warns of overrides for hosts that are not named in full, as those of rules are.
fn check_hosts(limits: &[Limit], f: &mut Findings) {
    const NAME: &str = "destination.host";
    f.each("limits", limits, |f, limit| {
        f.each("overrides", &limit.overrides, |f, over| {
            if let Some(host) = over.dimensions.get(NAME).filter(|it| !it.contains('.')) {
                let message = format!("should be a host in full, got {}", quote(host));
                f.field("dimensions", |f| f.key(NAME, |f| f.warn(message)));
            }
        });
    });
}

fn check_target(target: &TargetRef, f: &mut Findings) {
    for (name, value, only) in [
        ("group", &target.group, GROUP),
        ("kind", &target.kind, KIND),
    ] {
        if value != only {
            f.error_in(name, format!("must be {only}, got {}", quote(value)));
        }
    }
    if target.name.is_empty() {
        f.error_in("name", "is required");
    }
}

fn check_service(service: &LimitService, f: &mut Findings) {
    if service.host.is_empty() {
        f.error_in("host", "is required");
    } else {
        f.require_in("host", host::check_name(&service.host));
    }
    f.require_in("port", field::port(service.port));
    field::duration("timeout", service.timeout, f);
    if let Some(timeout) = service.timeout.filter(|it| it.get() > TIMEOUT_MAX) {
        f.error_in("timeout", format!("must be at most 10s, got {timeout}"));
    }
}

fn check_limits(limits: &[Limit], shared: bool, f: &mut Findings) {
    if limits.is_empty() {
        f.error_in("limits", "must have at least one limit");
    }
    check_count("limits", limits.len(), LIMITS_MAX, f);
    let mut names = BTreeSet::new();
    f.each("limits", limits, |f, limit| {
        f.require_in("name", field::dns_label(&limit.name));
        if !names.insert(&limit.name) {
            let again = format!("must be unique, got {} again", quote(&limit.name));
            f.error_in("name", again);
        }
        check_limit(limit, shared, f);
    });
}

fn check_limit(limit: &Limit, shared: bool, f: &mut Findings) {
    check_numbers((limit.requests, limit.per, limit.burst), shared, f);
    f.each("match", &limit.matches, check_match);
    check_count("key", limit.key.len(), DIMENSIONS_MAX, f);
    let mut seen = BTreeSet::new();
    f.each("key", &limit.key, |f, name| {
        if let Some(dimension) = check_dimension(name, f)
            && !seen.insert(dimension)
        {
            f.error(format!("must not be named twice, got {}", quote(name)));
        }
    });
    check_count("overrides", limit.overrides.len(), OVERRIDES_MAX, f);
    let mut earlier: BTreeSet<&BTreeMap<String, String>> = BTreeSet::new();
    f.each("overrides", &limit.overrides, |f, over| {
        check_override(over, shared, f);
        if !earlier.insert(&over.dimensions) {
            f.error_in(
                "dimensions",
                "must not be those of an earlier override, which is the one that counts",
            );
        }
    });
}

fn check_override(over: &Override, shared: bool, f: &mut Findings) {
    check_numbers((over.requests, over.per, over.burst), shared, f);
    if over.dimensions.is_empty() {
        f.error_in("dimensions", "must have at least one dimension");
    }
    check_count("dimensions", over.dimensions.len(), DIMENSIONS_MAX, f);
    f.field("dimensions", |f| {
        for (name, value) in &over.dimensions {
            f.key(name, |f| {
                let dimension = check_dimension(name, f);
                let is_ip = dimension == Some(Dimension::SourceIp);
                if is_ip && value.parse::<IpAddr>().is_err() {
                    f.error(format!("must be an IP address, got {}", quote(value)));
                }
                if let Some(reason) = dimension.and_then(|it| never(&it, value)) {
                    f.warn(format!("never matches: {reason}, got {}", quote(value)));
                }
            });
        }
    });
}

/// Why no request has this value of a dimension, if that is so.
fn never(dimension: &Dimension, value: &str) -> Option<&'static str> {
    let (is_so, reason) = match dimension {
        Dimension::RequestMethod => (
            value.bytes().any(|byte| byte.is_ascii_lowercase()),
            "methods are upper case",
        ),
        Dimension::RequestPath => (value.contains('?'), "the path has no query"),
        Dimension::DestinationHost
        | Dimension::SourceWorkload
        | Dimension::SourceVersion
        | Dimension::SourceNamespace
        | Dimension::SourcePrincipal
        | Dimension::SourceIp
        | Dimension::RequestHeader(_) => return None,
    };
    is_so.then_some(reason)
}

/// Checks requests, span and burst of a limit or an override.
fn check_numbers(
    (requests, per, burst): (Option<u32>, Option<Duration>, Option<u32>),
    shared: bool,
    f: &mut Findings,
) {
    for (name, number) in [("requests", requests), ("burst", burst)] {
        if number == Some(0) {
            f.error_in(name, "must be at least 1, got 0");
        }
    }
    if requests.is_none() {
        f.error_in("requests", "is required");
    }
    if shared && burst.is_some() {
        f.error_in(
            "burst",
            "must not be set with scope SHARED: the service counts whole spans",
        );
    }
    let Some(per) = per else {
        return f.error_in("per", "is required");
    };
    field::duration("per", Some(per), f);
    if per.get().is_zero() {
        return;
    }
    if per.get() > Span::from_secs(PER_HOURS_MAX * 3_600) {
        f.error_in(
            "per",
            format!("must be at most {PER_HOURS_MAX}h, got {per}"),
        );
    }
    let is_unit = per.get().subsec_nanos() == 0 && SHARED_UNITS.contains(&per.get().as_secs());
    if shared && !is_unit {
        let message = format!("must be 1s, 1m, 1h or 24h with scope SHARED, got {per}");
        f.error_in("per", message);
    }
    let requests = requests.unwrap_or(1).max(1);
    if per.get().as_nanos() / u128::from(requests) < INTERVAL_NANOS_MIN {
        let message = format!("must be at most 10000 in 1ms, got {requests} in {per}");
        f.error_in("requests", message);
    }
}

/// Checks a block of conditions. What a rule of a `VirtualService` has beside them means nothing here.
fn check_match(f: &mut Findings, block: &HttpMatch) {
    virtual_service::check_match(block, f);
    for (name, is_set) in [
        ("name", block.name.is_some()),
        ("gateways", !block.gateways.is_empty()),
        ("statPrefix", block.stat_prefix.is_some()),
    ] {
        if is_set {
            f.error_in(name, "must not be set in a limit");
        }
    }
}

fn check_dimension(name: &str, f: &mut Findings) -> Option<Dimension> {
    let dimension = Dimension::parse(name);
    match &dimension {
        Some(Dimension::RequestHeader(header)) => {
            f.require(header::check_name(header));
        }
        Some(_) => {}
        None => {
            let names = Dimension::NAMED.iter().map(|(name, _)| *name);
            let all: Vec<&str> = names.clone().collect();
            let near = nearest(name, names);
            let near = near.map_or_else(
                || "; legal".to_owned(),
                |near| format!(", did you mean {near}? Legal"),
            );
            f.error(format!(
                "unknown dimension {}{near} are {} and request.headers[NAME]",
                quote(name),
                all.join(", ")
            ));
        }
    }
    dimension
}

fn check_count(name: &str, count: usize, most: usize, f: &mut Findings) {
    if count > most {
        f.error_in(
            name,
            format!("must have at most {most} entries, got {count}"),
        );
    }
}

#[cfg(test)]
mod tests;
