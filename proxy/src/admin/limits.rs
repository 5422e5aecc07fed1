//! What a scrape says of destinations that have limits: their use at that moment.
//!
//! Counters of the data path are read, none is kept for this. Destinations without limits are left
//! out: there is nothing that could be used up.

use std::fmt::Write as _;

use crate::upstream::breaker::{Thresholds, Use};
use crate::upstream::destination::{Destination, Destinations};

/// Most destinations that are shown.
const DESTINATIONS_MAX: usize = 1_000;

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
                (",limit=\"pending\"", in_use.pending_overflows),
                (",limit=\"requests\"", in_use.request_overflows),
            ]
        },
    },
];

/// The text exposition of destinations with limits.
pub(crate) fn exposition(destinations: &Destinations) -> String {
    let limited = |it: &&Destination| it.policy.thresholds != Thresholds::default();
    let mut shown: Vec<&Destination> = destinations.iter().map(|it| &**it).collect();
    shown.retain(limited);
    shown.sort_by(|a, b| a.key.cmp(&b.key));
    shown.truncate(DESTINATIONS_MAX);
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
        for destination in &shown {
            let key = &destination.key;
            let in_use = destination.live.breaker.in_use();
            for (more, value) in (family.values)(&in_use, &destination.policy.thresholds) {
                let _ = writeln!(
                    out,
                    "{name}{{host=\"{}\",port=\"{}\",subset=\"{}\"{more}}} {value}",
                    key.host, key.port, key.subset
                );
            }
        }
    }
    out
}
