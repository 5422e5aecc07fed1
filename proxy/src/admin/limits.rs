//! What a scrape says of destinations that have limits: their use at that moment.
//!
//! Counters of the data path are read, none is kept for this. Destinations without limits are left
//! out: there is nothing that could be used up.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::upstream::breaker::{Thresholds, Use};
use crate::upstream::destination::Destinations;

/// Most destinations that are shown.
const DESTINATIONS_MAX: usize = 1_000;

/// What a scrape says of the destinations that share host, port and subset, as one of a gateway and
/// one of the mesh can.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// Of all together.
    in_use: Use,
    /// The smallest of each kind: the first that can be met.
    limits: Thresholds,
}

/// One family of metrics, and its value for a destination.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Further labels, and the value; none if it does not apply.
    values: fn(&Use, &Thresholds) -> Vec<(&'static str, u64)>,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "meshproxy_destination_connections",
        kind: "gauge",
        help: "Open connections to destinations with limits.",
        values: |in_use, _| vec![("", in_use.connections.into())],
    },
    Family {
        name: "meshproxy_destination_pending_requests",
        kind: "gauge",
        help: "Requests that wait for a connection, to destinations with limits.",
        values: |in_use, _| vec![("", in_use.pending.into())],
    },
    Family {
        name: "meshproxy_destination_limit",
        kind: "gauge",
        help: "Limits of destinations as configured.",
        values: |_, limits| {
            let limits = [
                (",limit=\"connections\"", limits.connections),
                (",limit=\"pending\"", limits.pending),
                (",limit=\"requests\"", limits.requests),
            ];
            let set = limits.into_iter();
            set.filter_map(|(label, limit)| Some((label, limit?.into())))
                .collect()
        },
    },
    Family {
        name: "meshproxy_destination_overflows_total",
        kind: "counter",
        help: "Requests that were refused because a limit of their destination was reached.",
        values: |in_use, _| {
            vec![
                (",limit=\"connections\"", in_use.connection_overflows),
                (",limit=\"pending\"", in_use.pending_overflows),
                (",limit=\"requests\"", in_use.request_overflows),
            ]
        },
    },
];

/// The text exposition of destinations with limits.
pub(crate) fn exposition(destinations: &Destinations) -> String {
    let mut shown: BTreeMap<_, Shown> = BTreeMap::new();
    for destination in destinations.iter() {
        let limits = &destination.policy.thresholds;
        if *limits != Thresholds::default() {
            let key = &destination.key;
            let one = Shown {
                in_use: destination.live.breaker.in_use(),
                limits: *limits,
            };
            shown
                .entry((&key.host, key.port, &key.subset))
                .and_modify(|sum| sum.add(&one))
                .or_insert(one);
        }
    }
    let mut out = String::new();
    if shown.is_empty() {
        return out;
    }
    for family in &FAMILIES {
        let Family {
            name, kind, help, ..
        } = family;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for ((host, port, subset), shown) in shown.iter().take(DESTINATIONS_MAX) {
            let (host, subset) = (escaped(host), escaped(subset));
            for (more, value) in (family.values)(&shown.in_use, &shown.limits) {
                let _ = writeln!(
                    out,
                    "{name}{{host=\"{host}\",port=\"{port}\",subset=\"{subset}\"{more}}} {value}"
                );
            }
        }
    }
    out
}

/// A label's value as the text format wants it.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#);
    value.replace('\n', r"\n")
}

// === impl Shown ===

impl Shown {
    fn add(&mut self, other: &Self) {
        let (sum, more) = (&mut self.in_use, &other.in_use);
        *sum = Use {
            connections: sum.connections.saturating_add(more.connections),
            pending: sum.pending.saturating_add(more.pending),
            requests: sum.requests.saturating_add(more.requests),
            pending_overflows: sum.pending_overflows.saturating_add(more.pending_overflows),
            request_overflows: sum.request_overflows.saturating_add(more.request_overflows),
            connection_overflows: sum
                .connection_overflows
                .saturating_add(more.connection_overflows),
        };
        let smaller = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        self.limits = Thresholds {
            connections: smaller(self.limits.connections, other.limits.connections),
            pending: smaller(self.limits.pending, other.limits.pending),
            requests: smaller(self.limits.requests, other.limits.requests),
        };
    }
}
