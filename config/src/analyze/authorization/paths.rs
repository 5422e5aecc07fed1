//! Policies that count on paths being written in one way, where applications may take several ways for
//! the same.

use std::sync::Arc;

use crate::analyze::{Context, Report};
use crate::resource::Resource;
use crate::resource::authorization_policy::{Action, AuthorizationPolicy, Operation};
use crate::resource::mesh_config::PathNormalization;

/// The flag of a proxy that says how far paths are brought to normal form, at its strongest.
const STRONGEST: &str = "--path-normalization=decode-and-merge-slashes";

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    policy: &AuthorizationPolicy,
    report: &mut Report,
) {
    let normalization = context.mesh.settings().path_normalization;
    let mut told = false;
    for (place, operation) in operations(policy) {
        for (field, paths) in [
            ("paths", &operation.paths),
            ("notPaths", &operation.not_paths),
        ] {
            for (at, path) in paths.iter().enumerate() {
                if let Some(message) = never(path, normalization) {
                    report.warn(resource, format!("{place}.{field}[{at}]"), message);
                }
            }
        }
        // Once for a policy: what is wrong with one of its paths is wrong with all.
        if let Some((field, message)) = evaded(policy, operation, normalization)
            && !told
        {
            told = true;
            report.warn(resource, format!("{place}.{field}"), message);
        }
    }
}

fn operations(policy: &AuthorizationPolicy) -> impl Iterator<Item = (String, &Operation)> {
    policy.rules.iter().enumerate().flat_map(|(rule, it)| {
        it.to.iter().enumerate().filter_map(move |(to, it)| {
            let place = format!("spec.rules[{rule}].to[{to}].operation");
            Some((place, it.operation.as_ref()?))
        })
    })
}

/// Why no path in this normal form is like the pattern.
fn never(path: &str, normalization: PathNormalization) -> Option<String> {
    let merges = normalization >= PathNormalization::MergeSlashes;
    let decodes = normalization >= PathNormalization::DecodeAndMergeSlashes;
    let upper = path.to_ascii_uppercase();
    if merges && path.contains("//") {
        Some("never matches: slashes that follow one another are one by then".to_owned())
    } else if decodes && (upper.contains("%2F") || upper.contains("%5C")) {
        Some("never matches: escaped slashes are decoded by then".to_owned())
    } else {
        None
    }
}

/// The list of paths that a request gets around by writing its path in another way, and how. Whoever
/// must be on a list to pass gains nothing by that.
fn evaded(
    policy: &AuthorizationPolicy,
    operation: &Operation,
    normalization: PathNormalization,
) -> Option<(&'static str, String)> {
    let (field, paths) = match policy.action.unwrap_or(Action::Allow) {
        Action::Allow => ("notPaths", &operation.not_paths),
        Action::Deny | Action::Custom => ("paths", &operation.paths),
        Action::Audit => return None,
    };
    let ways = match normalization {
        PathNormalization::None => "dot segments, escapes, `//` and `%2F`",
        PathNormalization::Base => "`//` and `%2F`",
        PathNormalization::MergeSlashes => "`%2F`",
        PathNormalization::DecodeAndMergeSlashes => return None,
    };
    let covers_all = |path: &String| matches!(path.as_str(), "*" | "/*" | "{**}" | "/{**}");
    if paths.is_empty() || paths.iter().all(covers_all) {
        return None;
    }
    let message = format!(
        "{ways} in a path get around this where the application takes them for a slash: they stay as \
         they are; set {STRONGEST} (or pathNormalization of MeshConfig). Upper and lower case always \
         differ: if not for the application, say what is allowed instead"
    );
    Some((field, message))
}
