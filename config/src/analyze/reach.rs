//! Rules that no request reaches because earlier ones take everything they match.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Report;
use crate::resource::Resource;
use crate::resource::virtual_service::{HttpMatch, VirtualService};
use crate::value::StringMatch;

/// Pairs of blocks that are compared per `VirtualService`; what comes later is not checked, so
/// that thousands of rules do not take seconds.
const COMPARISONS_MAX: usize = 1_000_000;

pub(super) fn check(resource: &Arc<Resource>, spec: &VirtualService, report: &mut Report) {
    check_http(resource, spec, report);
    check_tcp(resource, spec, report);
}

fn check_http(resource: &Arc<Resource>, spec: &VirtualService, report: &mut Report) {
    // What a rule without blocks matches.
    let everything = [HttpMatch::default()];
    let mut earlier: Vec<(usize, &HttpMatch)> = Vec::new();
    let mut comparisons = 0;
    for (at, rule) in spec.http.iter().enumerate() {
        let blocks = if rule.matches.is_empty() {
            &everything[..]
        } else {
            &rule.matches
        };
        comparisons += blocks.len() * earlier.len();
        if comparisons > COMPARISONS_MAX {
            return;
        }
        let taken: Vec<Option<usize>> = blocks
            .iter()
            .map(|block| {
                earlier
                    .iter()
                    .find(|(_, e)| takes(e, block))
                    .map(|&(place, _)| place)
            })
            .collect();
        report_taken(resource, (at, rule.matches.len()), &taken, report);
        // What a delegate leaves over goes on to the next rule.
        if rule.delegate.is_none() {
            earlier.extend(rule.matches.iter().map(|block| (at, block)));
            if rule.matches.is_empty() {
                earlier.push((at, &everything[0]));
            }
        }
    }
}

fn report_taken(
    resource: &Arc<Resource>,
    (at, written): (usize, usize),
    taken: &[Option<usize>],
    report: &mut Report,
) {
    let message =
        |by: usize| format!("never reached: spec.http[{by}] takes every request that it matches");
    let by_all: Option<Vec<usize>> = taken.iter().copied().collect();
    if let Some(&by) = by_all.as_ref().and_then(|by| by.first()) {
        report.warn(resource, format!("spec.http[{at}]"), message(by));
        return;
    }
    for (n, by) in taken.iter().enumerate().take(written) {
        if let Some(by) = by {
            report.warn(
                resource,
                format!("spec.http[{at}].match[{n}]"),
                message(*by),
            );
        }
    }
}

fn check_tcp(resource: &Arc<Resource>, spec: &VirtualService, report: &mut Report) {
    let Some(catch_all) = spec.tcp.iter().position(|rule| rule.matches.is_empty()) else {
        return;
    };
    for at in catch_all + 1..spec.tcp.len() {
        let message = format!("never reached: spec.tcp[{catch_all}] takes every connection");
        report.warn(resource, format!("spec.tcp[{at}]"), message);
    }
}

/// Whether `earlier` surely matches every request that `later` matches.
fn takes(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    let same = |earlier: &Option<StringMatch>, later: &Option<StringMatch>| {
        earlier.is_none() || earlier == later
    };
    takes_uri(earlier, later)
        && same(&earlier.scheme, &later.scheme)
        && same(&earlier.method, &later.method)
        && same(&earlier.authority, &later.authority)
        && takes_all(&earlier.headers, &later.headers)
        && takes_all(&earlier.query_params, &later.query_params)
        && earlier
            .without_headers
            .iter()
            .all(|(k, v)| later.without_headers.get(k) == Some(v))
        && (earlier.port.is_none() || earlier.port == later.port)
        && (earlier.source_namespace.is_none()
            || earlier.source_namespace == later.source_namespace)
        && earlier
            .source_labels
            .iter()
            .all(|(k, v)| later.source_labels.get(k) == Some(v))
        && (earlier.gateways.is_empty()
            || (!later.gateways.is_empty()
                && later
                    .gateways
                    .iter()
                    .all(|gateway| earlier.gateways.contains(gateway))))
}

fn takes_uri(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    let Some(wide) = &earlier.uri else {
        return true;
    };
    // A path always begins with a slash, and is always there.
    let is_everything = match wide {
        StringMatch::Presence => true,
        StringMatch::Prefix(prefix) => prefix == "/",
        StringMatch::Regex(pattern) => pattern == ".*",
        StringMatch::Exact(_) => false,
    };
    if is_everything {
        return true;
    }
    let Some(narrow) = &later.uri else {
        return false;
    };
    if earlier.ignore_uri_case != later.ignore_uri_case {
        return false;
    }
    match (wide, narrow) {
        (StringMatch::Prefix(wide), StringMatch::Prefix(narrow) | StringMatch::Exact(narrow)) => {
            narrow.starts_with(wide.as_str())
        }
        (wide, narrow) => wide == narrow,
    }
}

/// Whether each condition of `earlier` follows from one of `later`.
fn takes_all(
    earlier: &BTreeMap<String, StringMatch>,
    later: &BTreeMap<String, StringMatch>,
) -> bool {
    earlier.iter().all(|(key, wide)| {
        later
            .get(key)
            .is_some_and(|narrow| wide == narrow || *wide == StringMatch::Presence)
    })
}
