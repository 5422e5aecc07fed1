//! `/destinations`: where routes lead.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::tls::client::{Belief, Channel};
use crate::upstream::balance::Standing;
use crate::upstream::budget::RetryLimit;
use crate::upstream::caller::ProxyProtocol;
use crate::upstream::destination::{Destination, Destinations, Policy, Protocol};
use crate::upstream::endpoint::Member;
use crate::upstream::health::Health;
use crate::upstream::original::Originals;
use crate::upstream::outlier::{Detection, ErrorCodes, LocalFailures};
use crate::upstream::spoken::{Spoke, Spoken};

/// All destinations in use, by key.
pub(super) fn destinations(destinations: &Destinations) -> Vec<Value> {
    let mut sorted: Vec<_> = destinations.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted
        .into_iter()
        .map(|destination| describe(destination))
        .collect()
}

fn describe(destination: &Destination) -> Value {
    let key = &destination.key;
    json!({
        "key": key.to_string(),
        "host": &*key.host,
        "port": key.port,
        "subset": (!key.subset.is_empty()).then_some(&*key.subset),
        "direction": if key.inbound { "inbound" } else { "outbound" },
        "algorithm": destination.balancer.algorithm(),
        "policy": policy(&destination.policy),
        "spoken": spoken(&destination.live.spoken),
        "breaker": breaker(destination),
        "retries": retries(destination),
        "groups": groups(destination),
        "endpoints": endpoints(destination),
        "originals": destination.originals.as_deref().map(originals),
    })
}

/// The addresses that callers asked for, where they choose, in order.
fn originals(originals: &Originals) -> Value {
    let describe = |destination: &Arc<Destination>| {
        let members = destination.members().iter();
        let endpoints = members.map(|member| {
            let mut shown = endpoint(member, destination);
            shown["spoken"] = spoken(&destination.live.spoken);
            (member.endpoint.addr.clone(), shown)
        });
        endpoints.collect::<Vec<_>>()
    };
    let mut all: Vec<_> = originals.all().iter().flat_map(describe).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let asked: Vec<Value> = all.into_iter().map(|(_, shown)| shown).collect();
    json!({
        "takes": if originals.takes_any() { "any address" } else { "its endpoints" },
        "asked": asked,
    })
}

/// How connections and requests of a destination are treated.
pub(crate) fn policy(policy: &Policy) -> Value {
    let requests_max = policy.requests_per_connection_max;
    json!({
        "connectTimeout": span(policy.connect_timeout),
        "idleTimeout": span(policy.idle_timeout),
        "requestsPerConnectionMax": (requests_max > 0).then_some(requests_max),
        "connectionAgeMax": policy.connection_age_max.map(span),
        "streamsPerConnectionMax": policy.streams_max,
        "tcpKeepalive": policy.tcp_keepalive.map(|probes| json!({
            "time": probes.time.map(span),
            "interval": probes.interval.map(span),
            "probes": probes.count,
        })),
        "proxyProtocol": policy.proxy_protocol.map(ProxyProtocol::as_str),
        "http2KeepAlive": policy.ping.map(|ping| json!({
            "interval": span(ping.interval),
            "timeout": span(ping.timeout),
        })),
        "protocol": match policy.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::AsDownstream => "as downstream",
        },
        "outlierDetection": policy.outlier.as_deref().map(detection),
        "healthCheck": policy.check.as_ref().map(|check| check.written.to_string()),
    })
}

fn span(span: Duration) -> String {
    format!("{span:?}")
}

/// What connections spoke of which nobody had said it.
fn spoken(spoken: &Spoken) -> Value {
    let count = |spoke| spoken.count(spoke);
    json!({
        "http1": count(Spoke::Http1),
        "http2": count(Spoke::Http2),
        "tls": count(Spoke::Tls),
        "opaque": count(Spoke::Opaque),
        "serverFirst": count(Spoke::ServerFirst),
    })
}

/// Use of the limits of connections and requests.
fn breaker(destination: &Destination) -> Value {
    let in_use = destination.live.breaker.in_use();
    let limits = &destination.policy.thresholds;
    let active = destination.members().iter().map(|it| it.endpoint.active());
    let active: u64 = active.map(u64::from).sum();
    json!({
        "connections": {
            "open": in_use.connections,
            "max": limits.connections,
            "refused": in_use.connection_overflows,
        },
        "pending": {
            "waiting": in_use.pending,
            "max": limits.pending,
            "refused": in_use.pending_overflows,
        },
        "requests": {
            "active": active - u64::from(in_use.pending).min(active),
            "max": limits.requests,
            "refused": in_use.request_overflows,
        },
    })
}

/// Use of the limit of retries.
fn retries(destination: &Destination) -> Value {
    let limit = match &destination.policy.retries {
        RetryLimit::Standard => json!("20 % of requests, of what may have been processed"),
        RetryLimit::Count(most) => json!({"maxRetries": most}),
        RetryLimit::Share(share) => json!({
            "percent": f64::from(share.millionths) / 10_000.0,
            "minRetryConcurrency": share.retries_min,
            "budgetInterval": share.interval.map(|interval| format!("{interval:?}")),
        }),
    };
    json!({
        "limit": limit,
        "allowed": destination.retries_allowed(),
        "active": destination.live.retries.active(),
        "refused": destination.live.retries.refused(),
    })
}

/// Who is asked right now: levels of preference, and what share of the traffic their groups get.
fn groups(destination: &Destination) -> Vec<Value> {
    let standings = destination.balancer.standings(&destination.live);
    let group = |group: &Standing<'_>| {
        let addrs = group.members.iter().map(|it| it.endpoint.addr.to_string());
        json!({
            "level": group.level,
            "name": group.name,
            "percent": (group.share * 10_000.0).round() / 100.0,
            "panics": group.panics,
            "endpoints": addrs.collect::<Vec<_>>(),
        })
    };
    standings.iter().map(group).collect()
}

fn endpoints(destination: &Destination) -> Vec<Value> {
    let members = destination.members().iter().enumerate();
    let endpoint = |(at, member)| {
        let mut shown = endpoint(member, destination);
        shown["level"] = json!(destination.balancer.level_of(at));
        shown
    };
    members.map(endpoint).collect()
}

fn detection(rules: &Detection) -> Value {
    let on = |most: u32| (most > 0).then_some(most);
    json!({
        "consecutive5xxErrors": on(rules.errors),
        "consecutiveGatewayErrors": on(rules.gateway_errors),
        "consecutiveLocalOriginFailures": match rules.local_failures {
            LocalFailures::AsErrors => None,
            LocalFailures::Apart(most) => on(most),
        },
        "errorCodes": match &rules.codes {
            ErrorCodes::ServerErrors => json!("5xx"),
            ErrorCodes::Listed(codes) => json!(codes),
        },
        "interval": span(rules.interval),
        "baseEjectionTime": span(rules.base),
        "maxEjectionPercent": rules.ejected_percent_max,
        "successRate": rules.success_rate.map(|comparison| json!({
            "stdev": f64::from(comparison.stdev_thousandths) / 1_000.0,
            "hosts": comparison.hosts_min,
            "requests": comparison.requests_min,
        })),
    })
}

/// How an endpoint is spoken to below HTTP; null in plain text.
fn channel(channel: &Channel) -> Value {
    let tls = match channel {
        Channel::Plain => return Value::Null,
        Channel::Shut(why) => return json!({"shut": why.to_string()}),
        Channel::Tls(tls) => &tls.terms,
    };
    let (verifies, names) = match &tls.belief {
        Belief::Anyone => ("nothing", None),
        Belief::Host { names, .. } => ("names", Some(names)),
        Belief::Workload { expected, .. } => ("identity", Some(expected)),
    };
    json!({
        "mode": tls.own.to_string(),
        "serverName": tls.server_name,
        "verifies": verifies,
        // Without any it is whoever is of the trust domain.
        "names": names.filter(|names| !names.is_empty()),
    })
}

/// Whether an endpoint takes requests, and why not.
fn health(member: &Member, destination: &Destination) -> Value {
    let endpoint = &member.endpoint;
    let now = Instant::now();
    let rules = destination.policy.outlier.as_deref();
    let standing = rules.map(|rules| {
        let ejections = &destination.live.ejections;
        ejections.standing(rules, endpoint.id, now)
    });
    let ejected = standing.and_then(|standing| standing.ejected);
    json!({
        "available": endpoint.health.is_available(),
        "ejected": ejected.map(|ejected| json!({
            "cause": ejected.cause.as_str(),
            "secondsLeft": seconds(ejected.left),
        })),
        "ejections": standing.map(|standing| standing.times),
        "streaks": rules.map(|_| {
            let lengths = endpoint.streaks.lengths();
            json!({
                "errors": lengths.errors,
                "gatewayErrors": lengths.gateway_errors,
                "localFailures": lengths.local_failures,
            })
        }),
        "check": checked(&endpoint.health, now),
    })
}

fn checked(health: &Health, now: Instant) -> Value {
    let Some(checked) = health.checked() else {
        return Value::Null;
    };
    json!({
        "state": if checked.passing { "passing" } else { "failing" },
        "forSeconds": seconds(now.saturating_duration_since(checked.since)),
        "lastError": checked.last_error,
    })
}

/// To the millisecond.
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1_000.0
}

fn endpoint(member: &Member, destination: &Destination) -> Value {
    let endpoint = &member.endpoint;
    json!({
        "address": endpoint.addr.to_string(),
        "weight": member.weight,
        "locality": member.locality,
        "tls": channel(&member.channel),
        "available": endpoint.health.is_available(),
        "active": endpoint.active(),
        "requests": endpoint.requests(),
        "failures": endpoint.failures(),
        "health": health(member, destination),
        "keepAlive": {
            "announced": endpoint.idle_limit.announced().map(span),
            "observed": endpoint.idle_limit.observed().map(span),
        },
    })
}
