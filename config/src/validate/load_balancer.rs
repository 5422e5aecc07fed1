//! Load balancers: one algorithm, consistent hashing, warm-up.

use crate::resource::destination_rule::{ConsistentHash, LoadBalancer, Warmup};
use crate::validate::findings::Findings;
use crate::validate::{field, locality};

/// Size below which a Maglev table must stay.
const MAGLEV_TABLE_LIMIT: u64 = 5_000_011;

/// Most virtual nodes of a hash ring.
const RING_MAX: u64 = 8 << 20;

/// Checks the field `loadBalancer`.
pub(crate) fn check(
    balancer: Option<&LoadBalancer>,
    has_outlier_detection: bool,
    f: &mut Findings,
) {
    let Some(balancer) = balancer else {
        return;
    };
    f.field("loadBalancer", |f| {
        if balancer.simple.is_some() && balancer.consistent_hash.is_some() {
            f.error_in("consistentHash", "must not be set together with simple");
        }
        if let Some(hash) = &balancer.consistent_hash {
            f.field("consistentHash", |f| check_hash(hash, f));
        }
        if balancer.locality_lb_setting.is_some() && balancer.zone_aware_lb_setting.is_some() {
            f.error_in(
                "zoneAwareLbSetting",
                "must not be set together with localityLbSetting",
            );
        }
        if let Some(setting) = &balancer.locality_lb_setting {
            f.field("localityLbSetting", |f| {
                locality::check(setting, has_outlier_detection, f)
            });
        }
        if let Some(setting) = &balancer.zone_aware_lb_setting {
            f.field("zoneAwareLbSetting", |f| {
                locality::check_failover(&setting.failover, &setting.failover_priority, f);
                if setting.min_cluster_size.is_some_and(|size| size.0 == 0) {
                    f.error_in("minClusterSize", "must be at least 1, got 0");
                }
            });
        }
        field::duration("warmupDurationSecs", balancer.warmup_duration_secs, f);
        if let Some(warmup) = &balancer.warmup {
            f.field("warmup", |f| check_warmup(warmup, f));
        }
    });
}

fn check_warmup(warmup: &Warmup, f: &mut Findings) {
    match warmup.duration {
        Some(_) => field::duration("duration", warmup.duration, f),
        None => f.error_in("duration", "is required"),
    }
    if let Some(percent) = warmup.minimum_percent {
        f.require_in("minimumPercent", field::in_range(percent.0, &(0.0..=100.0)));
    }
    if let Some(aggression) = warmup.aggression.filter(|aggression| aggression.0 <= 0.0) {
        f.error_in(
            "aggression",
            format!("must be above 0, got {}", aggression.0),
        );
    }
}

fn check_hash(hash: &ConsistentHash, f: &mut Findings) {
    check_hash_key(hash, f);
    if hash.ring_hash.is_some() && hash.maglev.is_some() {
        f.error_in("maglev", "must not be set together with ringHash");
    }
    if let Some(size) = hash.minimum_ring_size.filter(|size| size.0 != 0) {
        if hash.ring_hash.is_some() || hash.maglev.is_some() {
            f.error_in(
                "minimumRingSize",
                "must not be set together with ringHash or maglev",
            );
        }
        check_ring("minimumRingSize", size.0, f);
    }
    if let Some(size) = hash
        .ring_hash
        .as_ref()
        .and_then(|ring| ring.minimum_ring_size)
    {
        check_ring("ringHash.minimumRingSize", size.0, f);
    }
    if let Some(maglev) = &hash.maglev {
        let size = maglev.table_size.map_or(0, |size| size.0);
        if size >= MAGLEV_TABLE_LIMIT || !is_prime(size) {
            f.error_in(
                "maglev.tableSize",
                format!("must be a prime below {MAGLEV_TABLE_LIMIT}, got {size}"),
            );
        }
    }
}

fn check_ring(name: &str, size: u64, f: &mut Findings) {
    if size > RING_MAX {
        f.error_in(name, format!("must be at most {RING_MAX}, got {size}"));
    }
}

fn check_hash_key(hash: &ConsistentHash, f: &mut Findings) {
    let header = hash.http_header_name.as_deref();
    let parameter = hash.http_query_parameter_name.as_deref();
    let keys = [
        ("httpHeaderName", header.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip.is_some()),
        ("httpQueryParameterName", parameter.is_some()),
    ];
    let mut set = keys.iter().filter(|(_, is_set)| *is_set);
    match (set.next(), set.next()) {
        (None, _) => f.warn("has no effect without a key such as httpHeaderName"),
        (Some((first, _)), Some((second, _))) => {
            f.error_in(second, format!("must not be set together with {first}"));
        }
        (Some(_), None) => {}
    }
    for (name, value) in [
        ("httpHeaderName", header),
        ("httpQueryParameterName", parameter),
    ] {
        if value == Some("") {
            f.error_in(name, "must not be empty");
        }
    }
    if let Some(cookie) = &hash.http_cookie {
        f.field("httpCookie", |f| {
            if cookie.name.is_empty() {
                f.error_in("name", "is required");
            }
            f.each("attributes", &cookie.attributes, |f, attribute| {
                if attribute.name.is_empty() {
                    f.error_in("name", "is required");
                }
            });
        });
    }
}

/// Whether `number` is prime. Bounded by the square root of the limit above: about 1100 steps.
fn is_prime(number: u64) -> bool {
    let mut factors = (2..).take_while(|factor| factor * factor <= number);
    number > 1 && factors.all(|factor| !number.is_multiple_of(factor))
}
