//! Rules of a delegate `VirtualService` under the rule that refers to it.

use std::collections::BTreeMap;

use crate::resource::virtual_service::{HttpMatch, HttpRoute};
use crate::value::StringMatch;

/// The delegate's rule as it applies under `root`; `None` if their conditions contradict.
///
/// What the delegate's rule says wins, the root fills the gaps.
pub(crate) fn merge_rule(root: &HttpRoute, own: &HttpRoute) -> Option<HttpRoute> {
    let fill_mirror = own.mirror.is_none();
    Some(HttpRoute {
        name: joined(root.name.as_deref(), own.name.as_deref()),
        matches: merge_matches(&root.matches, &own.matches)?,
        route: own.route.clone(),
        redirect: own.redirect.clone(),
        delegate: None,
        direct_response: own
            .direct_response
            .clone()
            .or_else(|| root.direct_response.clone()),
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.clone().or_else(|| root.retries.clone()),
        fault: own.fault.clone().or_else(|| root.fault.clone()),
        mirror: own.mirror.clone().or_else(|| root.mirror.clone()),
        mirror_percent: own
            .mirror_percent
            .or(root.mirror_percent.filter(|_| fill_mirror)),
        mirror_percentage: own
            .mirror_percentage
            .or(root.mirror_percentage.filter(|_| fill_mirror)),
        mirrors: if own.mirrors.is_empty() {
            root.mirrors.clone()
        } else {
            own.mirrors.clone()
        },
        cors_policy: own.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        headers: own.headers.clone().or_else(|| root.headers.clone()),
    })
}

/// Every block of the delegate under every block of the root that it does not contradict.
///
/// `None` if some block of the delegate contradicts them all: then the rule is dropped.
fn merge_matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(own.to_vec());
    }
    if own.is_empty() {
        return Some(root.to_vec());
    }
    let mut merged = Vec::new();
    for block in own {
        let before = merged.len();
        let fitting = root.iter().filter(|root| !contradict(root, block));
        merged.extend(fitting.map(|root| merge_match(root, block)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    HttpMatch {
        name: joined(root.name.as_deref(), own.name.as_deref()),
        uri: own.uri.clone().or_else(|| root.uri.clone()),
        scheme: own.scheme.clone().or_else(|| root.scheme.clone()),
        method: own.method.clone().or_else(|| root.method.clone()),
        authority: own.authority.clone().or_else(|| root.authority.clone()),
        headers: united(&root.headers, &own.headers),
        port: own.port.filter(|&port| port != 0).or(root.port),
        source_labels: united(&root.source_labels, &own.source_labels),
        gateways: if own.gateways.is_empty() {
            root.gateways.clone()
        } else {
            own.gateways.clone()
        },
        query_params: united(&root.query_params, &own.query_params),
        ignore_uri_case: own.ignore_uri_case,
        without_headers: united(&root.without_headers, &own.without_headers),
        source_namespace: own
            .source_namespace
            .clone()
            .or_else(|| root.source_namespace.clone()),
        stat_prefix: own.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

fn joined(root: Option<&str>, own: Option<&str>) -> Option<String> {
    let (root, own) = (
        root.filter(|name| !name.is_empty()),
        own.filter(|name| !name.is_empty()),
    );
    match (root, own) {
        (Some(root), Some(own)) => Some(format!("{root}-{own}")),
        (root, own) => root.or(own).map(str::to_owned),
    }
}

fn united<V: Clone>(root: &BTreeMap<String, V>, own: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut all = root.clone();
    all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    all
}

/// Whether a block of the delegate wants what the root's block rules out.
fn contradict(root: &HttpMatch, own: &HttpMatch) -> bool {
    let fields = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let maps = [
        (&root.headers, &own.headers),
        (&root.without_headers, &own.without_headers),
        (&root.query_params, &own.query_params),
    ];
    fields
        .iter()
        .any(|(root, own)| exceeds(root.as_ref(), own.as_ref()))
        || maps.iter().any(|(root, own)| {
            own.iter()
                .any(|(key, matcher)| exceeds(root.get(key), Some(matcher)))
        })
        || root.ignore_uri_case != own.ignore_uri_case
        || differ(
            root.port.filter(|&port| port != 0),
            own.port.filter(|&port| port != 0),
        )
        || differ(
            root.source_namespace.as_deref(),
            own.source_namespace.as_deref(),
        )
        || own.source_labels.iter().any(|(key, value)| {
            root.source_labels
                .get(key)
                .is_some_and(|required| required != value)
        })
        || (!root.gateways.is_empty()
            && own
                .gateways
                .iter()
                .any(|gateway| !root.gateways.contains(gateway)))
}

fn differ<T: PartialEq>(root: Option<T>, own: Option<T>) -> bool {
    matches!((root, own), (Some(root), Some(own)) if root != own)
}

/// Whether `own` can match what `root` does not. Regular expressions are not compared: beside one
/// any other condition counts as exceeding.
fn exceeds(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    use StringMatch::{Exact, Prefix, Presence, Regex};

    let (Some(root), Some(own)) = (root, own) else {
        return false;
    };
    match (root, own) {
        (Presence, _) | (Prefix(_) | Regex(_), Presence) => false,
        (Regex(_), Exact(_) | Prefix(_) | Regex(_)) | (Exact(_) | Prefix(_), Regex(_)) => true,
        (Exact(root), Exact(own)) => root != own,
        (Exact(_), Prefix(_) | Presence) => true,
        (Prefix(root), Prefix(own) | Exact(own)) => !own.starts_with(root.as_str()),
    }
}

#[cfg(test)]
mod tests;
