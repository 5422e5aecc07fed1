//! How endpoints are picked: what the `loadBalancer` of a policy comes to.

mod locality;
#[cfg(test)]
mod tests;

use std::time::Duration;

use config::mesh::{EffectivePolicy, Endpoint};
use config::resource::destination_rule::{ConsistentHash, HttpCookie, LoadBalancer, SimpleLb};

use crate::upstream::balance::{
    Affinity, Algorithm, HashCookie, HashKey, Hashing, Layout, Terms, Warmup,
};
pub(super) use locality::{Here, Place};

/// Least number of points on a ring when nothing else is said.
const RING_POINTS_MIN: u64 = 1_024;
/// Slots of a Maglev table when nothing else is said.
const MAGLEV_SLOTS: u32 = 65_537;
/// First share of a new endpoint when nothing else is said, in percent.
const WARMUP_PERCENT: f64 = 10.0;

/// Where the endpoints stand, seen from `here`: levels of preference and shares. `checks` says whether
/// there are health checks.
pub(super) fn layout(
    endpoints: &[&Endpoint],
    policy: &EffectivePolicy,
    checks: bool,
    here: &Here,
) -> Layout {
    let standard = LoadBalancer::default();
    let balancer = policy.load_balancer.as_ref().unwrap_or(&standard);
    locality::layout(endpoints, balancer, detects_failures(policy, checks), here)
}

/// The algorithm, and what goes with it.
pub(super) fn terms(policy: &EffectivePolicy) -> Terms {
    let balancer = policy.load_balancer.as_ref();
    let algorithm = balancer.map_or(Algorithm::LeastRequest, algorithm);
    let warms_up = match algorithm {
        Algorithm::LeastRequest | Algorithm::RoundRobin => true,
        Algorithm::Random | Algorithm::Hash(_) => false,
    };
    let outlier = policy.outlier_detection.as_ref();
    let percent = outlier.and_then(|it| it.min_health_percent).unwrap_or(0);
    Terms {
        algorithm,
        warmup: balancer.filter(|_| warms_up).and_then(warmup),
        panic_percent: u32::try_from(percent).unwrap_or(0),
    }
}

/// Whether anything takes endpoints out. Otherwise nobody could ever fail over, and levels of
/// preference would send everything to the nearest endpoint for good.
fn detects_failures(policy: &EffectivePolicy, checks: bool) -> bool {
    policy.outlier_detection.is_some() || checks
}

fn algorithm(balancer: &LoadBalancer) -> Algorithm {
    if let Some(hash) = &balancer.consistent_hash {
        return Algorithm::Hash(Affinity {
            key: key(hash),
            hashing: hashing(hash),
        });
    }
    match balancer.simple {
        Some(SimpleLb::Random) => Algorithm::Random,
        Some(SimpleLb::RoundRobin) => Algorithm::RoundRobin,
        Some(
            SimpleLb::Unspecified
            | SimpleLb::LeastConn
            | SimpleLb::LeastRequest
            | SimpleLb::Passthrough,
        )
        | None => Algorithm::LeastRequest,
    }
}

fn hashing(hash: &ConsistentHash) -> Hashing {
    if let Some(maglev) = &hash.maglev {
        let slots = maglev.table_size.and_then(|it| u32::try_from(it.0).ok());
        return Hashing::Maglev {
            slots: slots.filter(|slots| *slots > 0).unwrap_or(MAGLEV_SLOTS),
        };
    }
    let ring = hash.ring_hash.as_ref();
    let points = ring.and_then(|ring| ring.minimum_ring_size);
    let points = points.or(hash.minimum_ring_size).map(|points| points.0);
    Hashing::Ring {
        points_min: points.filter(|it| *it > 0).unwrap_or(RING_POINTS_MIN),
    }
}

fn key(hash: &ConsistentHash) -> Option<HashKey> {
    if let Some(name) = &hash.http_header_name {
        return match &*name.to_ascii_lowercase() {
            ":authority" | "host" => Some(HashKey::Authority),
            ":path" => Some(HashKey::Target),
            name => name.parse().ok().map(HashKey::Header),
        };
    }
    if let Some(written) = &hash.http_cookie {
        return Some(HashKey::Cookie(cookie(written)));
    }
    if hash.use_source_ip == Some(true) {
        return Some(HashKey::SourceIp);
    }
    let parameter = hash.http_query_parameter_name.as_deref()?;
    Some(HashKey::Query(parameter.into()))
}

fn cookie(written: &HttpCookie) -> HashCookie {
    HashCookie {
        name: written.name.as_str().into(),
        attributes: written.ttl.map(|ttl| attributes(written, ttl.get())),
    }
}

/// What follows the value of a cookie that we make. One that lives for no whole second lives as the
/// session.
fn attributes(written: &HttpCookie, ttl: Duration) -> Box<str> {
    let mut text = String::new();
    if ttl.as_secs() > 0 {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    let path = written.path.iter().filter(|path| !path.is_empty());
    path.for_each(|path| text.push_str(&format!("; Path={path}")));
    for attribute in &written.attributes {
        text.push_str(&format!("; {}", attribute.name));
        let value = attribute.value.iter().filter(|value| !value.is_empty());
        value.for_each(|value| text.push_str(&format!("={value}")));
    }
    text.push_str("; HttpOnly");
    text.into()
}

/// The deprecated form says how long, and nothing else.
fn warmup(balancer: &LoadBalancer) -> Option<Warmup> {
    let standard = config::resource::destination_rule::Warmup::default();
    let written = balancer.warmup.as_ref().unwrap_or(&standard);
    let duration = written.duration.or(balancer.warmup_duration_secs)?.get();
    let percent = written.minimum_percent.map_or(WARMUP_PERCENT, |it| it.0);
    let warmup = Warmup {
        duration,
        least: percent / 100.0,
        aggression: written.aggression.map_or(1.0, |it| it.0),
    };
    (duration > Duration::ZERO).then_some(warmup)
}
