//! Load balancers: one algorithm, consistent hashing, warm-up.

use crate::resource::destination_rule::{
    ConsistentHash, CookieAttribute, HttpCookie, LoadBalancer, SimpleLb, Warmup,
};
use crate::validate::findings::Findings;
use crate::validate::{field, header, locality};

/// Size below which a Maglev table must stay.
const MAGLEV_TABLE_LIMIT: u64 = 5_000_011;

/// Most virtual nodes of a hash ring.
const RING_MAX: u64 = 8 << 20;

/// Parts of a request line that can be the key of a hash.
const HASHED_PSEUDO_HEADERS: [&str; 2] = [":authority", ":path"];

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
            if !warms_up(balancer) {
                f.warn_in(
                    "warmup",
                    "has no effect but with LEAST_REQUEST and ROUND_ROBIN",
                );
            }
        }
    });
}

fn warms_up(balancer: &LoadBalancer) -> bool {
    let passes = match balancer.simple {
        Some(SimpleLb::Random | SimpleLb::Passthrough) => false,
        Some(
            SimpleLb::Unspecified
            | SimpleLb::LeastConn
            | SimpleLb::LeastRequest
            | SimpleLb::RoundRobin,
        )
        | None => true,
    };
    passes && balancer.consistent_hash.is_none()
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
    if let Some(name) = header {
        check_hash_header(name, f);
    }
    if parameter == Some("") {
        f.error_in("httpQueryParameterName", "must not be empty");
    }
    if let Some(cookie) = &hash.http_cookie {
        f.field("httpCookie", |f| check_cookie(cookie, f));
    }
}

fn check_hash_header(name: &str, f: &mut Findings) {
    if name.is_empty() {
        f.error_in("httpHeaderName", "must not be empty");
    } else if !header::is_token(name.strip_prefix(':').unwrap_or(name)) {
        f.error_in(
            "httpHeaderName",
            format!("must be a header name, got \"{name}\""),
        );
    } else if name.starts_with(':') && !HASHED_PSEUDO_HEADERS.contains(&name) {
        f.warn_in(
            "httpHeaderName",
            "has no effect: of these only :authority and :path can be a key",
        );
    }
}

/// What is made of it must be a line that clients understand.
fn check_cookie(cookie: &HttpCookie, f: &mut Findings) {
    if cookie.name.is_empty() {
        f.error_in("name", "is required");
    } else if !header::is_token(&cookie.name) {
        f.error_in(
            "name",
            format!("must be a cookie name, got \"{}\"", cookie.name),
        );
    }
    check_cookie_part("path", cookie.path.as_deref(), f);
    f.each("attributes", &cookie.attributes, check_attribute);
}

fn check_attribute(f: &mut Findings, attribute: &CookieAttribute) {
    if attribute.name.is_empty() {
        f.error_in("name", "is required");
    }
    check_cookie_part("name", Some(&attribute.name), f);
    check_cookie_part("value", attribute.value.as_deref(), f);
}

fn check_cookie_part(name: &str, text: Option<&str>, f: &mut Findings) {
    let breaks = |c: char| c == ';' || c.is_ascii_control() || !c.is_ascii();
    if let Some(text) = text.filter(|text| text.contains(breaks)) {
        f.error_in(
            name,
            format!("must be visible ASCII without ';', got {text:?}"),
        );
    }
}

/// Whether `number` is prime. Bounded by the square root of the limit above: about 1100 steps.
fn is_prime(number: u64) -> bool {
    let mut factors = (2..).take_while(|factor| factor * factor <= number);
    number > 1 && factors.all(|factor| !number.is_multiple_of(factor))
}
