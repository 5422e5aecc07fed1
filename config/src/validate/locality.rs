//! Locality preferences: fixed shares, and failover between regions.

use std::collections::BTreeMap;

use crate::resource::destination_rule::{LocalityFailover, LocalityLb};
use crate::validate::findings::Findings;

/// Labels that carry an endpoint's locality.
const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// Checks `localityLbSetting`.
pub(crate) fn check(setting: &LocalityLb, has_outlier_detection: bool, f: &mut Findings) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        f.error_in("failover", "must not be set together with distribute");
    }
    let sources = setting.distribute.iter().map(|share| share.from.as_str());
    check_localities("distribute", sources, f);
    f.each("distribute", &setting.distribute, |f, share| {
        check_shares(&share.to, f)
    });
    check_failover(&setting.failover, &setting.failover_priority, f);
    let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    if fails_over && !has_outlier_detection {
        f.warn("has no effect on failover without outlierDetection");
    }
}

fn check_shares(shares: &BTreeMap<String, u32>, f: &mut Findings) {
    f.field("to", |f| {
        let mut total: u64 = 0;
        for (locality, weight) in shares {
            total += u64::from(*weight);
            if !(1..=100).contains(weight) {
                f.key(locality, |f| {
                    f.error(format!("must be from 1 to 100, got {weight}"));
                });
            }
        }
        if total != 100 {
            f.error(format!("must have weights that total 100, got {total}"));
        }
    });
    check_localities("to", shares.keys().map(String::as_str), f);
}

/// Checks failover between regions and by label.
pub(crate) fn check_failover(failover: &[LocalityFailover], priority: &[String], f: &mut Findings) {
    f.each("failover", failover, |f, pair| {
        if pair.from == pair.to {
            f.error(format!(
                "must have two regions in from and to, got \"{}\" twice",
                pair.to
            ));
        }
        for (name, region) in [("from", &pair.from), ("to", &pair.to)] {
            if region.contains(['/', '*']) {
                f.error_in(
                    name,
                    format!("must be a region without '/' and '*', got \"{region}\""),
                );
            }
        }
    });
    if !failover.is_empty()
        && let Some(label) = priority
            .iter()
            .find(|label| TOPOLOGY.contains(&label.as_str()))
    {
        f.error_in(
            "failoverPriority",
            format!("must not have the topology label \"{label}\" together with failover"),
        );
    }
}

/// Localities `region[/zone[/subzone]]` have no empty part, at most one `*` (the end), and do not
/// overlap.
fn check_localities<'a>(name: &str, localities: impl Iterator<Item = &'a str>, f: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    for locality in localities {
        let stars = locality.matches('*').count();
        if stars > 1 || (stars == 1 && !locality.ends_with('*')) {
            f.error_in(
                name,
                format!("must have '*' only once, at the end, got \"{locality}\""),
            );
        } else if locality.splitn(3, '/').any(str::is_empty) {
            f.error_in(
                name,
                format!("must have the form region[/zone[/subzone]], got \"{locality}\""),
            );
        } else if let Some(earlier) = seen.iter().find(|earlier| overlap(earlier, locality)) {
            f.error_in(
                name,
                format!("must not overlap with \"{earlier}\", got \"{locality}\""),
            );
        }
        seen.push(locality);
    }
}

/// Whether one locality lies within the other. A missing part is as good as `*`.
fn overlap(one: &str, other: &str) -> bool {
    let parts = |locality: &str| -> Vec<String> {
        locality
            .splitn(3, '/')
            .take_while(|part| *part != "*")
            .map(str::to_owned)
            .collect()
    };
    let (one, other) = (parts(one), parts(other));
    one.iter().zip(&other).all(|(a, b)| a == b)
}
