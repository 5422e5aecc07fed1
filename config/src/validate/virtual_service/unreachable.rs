//! Rules and match blocks that can never be reached, because earlier ones take their traffic.

use std::collections::BTreeMap;

use crate::resource::virtual_service::{HttpMatch, VirtualService};
use crate::validate::findings::Findings;
use crate::value::StringMatch;

/// Most match blocks of one kind that are compared, each with every other; beyond, no warnings.
const BLOCKS_MAX: usize = 1_000;

/// Warns of what is never reached.
pub(super) fn check(service: &VirtualService, f: &mut Findings) {
    let everything = HttpMatch::default();
    let http = service
        .http
        .iter()
        .map(|route| match route.matches.as_slice() {
            [] => vec![&everything],
            blocks => blocks.iter().collect(),
        });
    warn("http", &http.collect::<Vec<_>>(), http_covers, f);
    let tls = service
        .tls
        .iter()
        .map(|route| route.matches.iter().collect());
    warn(
        "tls",
        &tls.collect::<Vec<_>>(),
        |earlier, later| earlier == later,
        f,
    );
    let nothing = Default::default();
    let tcp = service
        .tcp
        .iter()
        .map(|route| match route.matches.as_slice() {
            [] => vec![&nothing],
            blocks => blocks.iter().collect(),
        });
    let any = |earlier: &_, later: &_| *earlier == nothing || earlier == later;
    warn("tcp", &tcp.collect::<Vec<_>>(), any, f);
}

/// Warns of blocks of `rules` for which an earlier one `covers` everything that they match.
fn warn<T>(name: &str, rules: &[Vec<&T>], covers: impl Fn(&T, &T) -> bool, f: &mut Findings) {
    let blocks: Vec<(usize, usize, &T)> = rules
        .iter()
        .enumerate()
        .flat_map(|(rule, blocks)| blocks.iter().enumerate().map(move |(n, b)| (rule, n, *b)))
        .collect();
    if blocks.len() > BLOCKS_MAX {
        return;
    }
    let mut unreached = vec![0; rules.len()];
    let mut found = Vec::new();
    for (index, (rule, number, block)) in blocks.iter().enumerate() {
        if let Some(earlier) = blocks[..index]
            .iter()
            .find(|earlier| covers(earlier.2, block))
        {
            unreached[*rule] += 1;
            found.push((*rule, *number, earlier.0, earlier.1));
        }
    }
    for (rule, number, earlier, earlier_number) in found {
        let by = match rules[earlier].len() {
            1 => format!("{name}[{earlier}]"),
            _ => format!("{name}[{earlier}].match[{earlier_number}]"),
        };
        f.item(name, rule, |f| {
            let alone = rules[rule].len() == 1;
            if alone {
                f.warn(format!(
                    "is never reached: {by} takes everything that it matches"
                ));
            } else {
                f.item("match", number, |f| {
                    f.warn(format!(
                        "is never reached: {by} takes everything that it matches"
                    ));
                });
            }
        });
    }
    for (rule, count) in unreached.iter().enumerate() {
        if *count > 1 && *count == rules[rule].len() {
            f.item(name, rule, |f| {
                f.warn("is never reached: earlier rules take all of its matches")
            });
        }
    }
}

/// Whether every request that `later` matches is one that `earlier` matches.
fn http_covers(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    let pairs = [
        (&earlier.scheme, &later.scheme),
        (&earlier.method, &later.method),
        (&earlier.authority, &later.authority),
    ];
    uri_covers(earlier, later)
        && (earlier.port.is_none() || earlier.port == later.port)
        && pairs
            .into_iter()
            .all(|(a, b)| matcher_covers(a.as_ref(), b.as_ref()))
        && map_covers(&earlier.headers, &later.headers)
        && map_covers(&earlier.query_params, &later.query_params)
        && is_subset(&earlier.without_headers, &later.without_headers)
        && (earlier.gateways.is_empty() || earlier.gateways == later.gateways)
        && is_subset(&earlier.source_labels, &later.source_labels)
        && (earlier.source_namespace.is_none()
            || earlier.source_namespace == later.source_namespace)
}

fn uri_covers(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    match (&earlier.uri, &later.uri) {
        (None | Some(StringMatch::Presence), _) => true,
        (Some(StringMatch::Prefix(root)), _) if root == "/" || root.is_empty() => true,
        (Some(a), Some(b)) if earlier.ignore_uri_case => {
            matcher_covers(Some(&lower_case(a)), Some(&lower_case(b)))
        }
        (a, b) => !later.ignore_uri_case && matcher_covers(a.as_ref(), b.as_ref()),
    }
}

fn lower_case(matcher: &StringMatch) -> StringMatch {
    match matcher {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_lowercase()),
        StringMatch::Presence | StringMatch::Regex(_) => matcher.clone(),
    }
}

fn matcher_covers(earlier: Option<&StringMatch>, later: Option<&StringMatch>) -> bool {
    match (earlier, later) {
        (None, _) | (Some(StringMatch::Presence), Some(_)) => true,
        (Some(_), None) => false,
        (Some(StringMatch::Prefix(a)), Some(StringMatch::Prefix(b) | StringMatch::Exact(b))) => {
            b.starts_with(a.as_str())
        }
        (Some(a), Some(b)) => a == b,
    }
}

fn map_covers(
    earlier: &BTreeMap<String, StringMatch>,
    later: &BTreeMap<String, StringMatch>,
) -> bool {
    earlier.iter().all(|(name, a)| {
        later
            .get(name)
            .is_some_and(|b| matcher_covers(Some(a), Some(b)))
    })
}

fn is_subset<V: PartialEq>(earlier: &BTreeMap<String, V>, later: &BTreeMap<String, V>) -> bool {
    earlier
        .iter()
        .all(|(name, value)| later.get(name) == Some(value))
}
