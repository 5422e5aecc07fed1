//! Names as the API completes and compares them: short names, gateway references, wildcards.

use std::net::IpAddr;

/// The reserved gateway name that stands for all sidecars.
pub const MESH_GATEWAY: &str = "mesh";

/// Completes a name without a dot to `<name>.<namespace>.svc.<domain>`.
///
/// A name with any dot is taken as it is, so that `reviews.prod` is *not* completed. Wildcards, IP
/// addresses and the empty name stay untouched too.
pub(super) fn resolve(name: &str, namespace: &str, domain: &str) -> String {
    let complete = name.is_empty()
        || name.starts_with('*')
        || name.contains('.')
        || name.parse::<IpAddr>().is_ok();
    if complete {
        name.to_owned()
    } else {
        format!("{name}.{namespace}.svc.{domain}")
    }
}

/// The name and the namespace that [`resolve`] makes `host` of, if it can come from there.
pub(super) fn short_form<'a>(host: &'a str, domain: &str) -> Option<(&'a str, &'a str)> {
    let (name, namespace) = host
        .strip_suffix(domain)?
        .strip_suffix(".svc.")?
        .split_once('.')?;
    let is_short = !name.is_empty() && !name.starts_with('*') && !namespace.contains('.');
    is_short.then_some((name, namespace))
}

/// `namespace/name` of a gateway reference; `mesh` stays.
///
/// Besides `namespace/name`, `./name` and `name` there is an old form that reads like a host:
/// `name.namespace` with anything after a further dot ignored.
pub fn resolve_gateway(reference: &str, namespace: &str) -> String {
    if reference == MESH_GATEWAY {
        return reference.to_owned();
    }
    if let Some((prefix, name)) = reference.split_once('/') {
        let owner = if prefix == "." { namespace } else { prefix };
        return format!("{owner}/{name}");
    }
    match reference.split_once('.') {
        None => format!("{namespace}/{reference}"),
        Some((name, rest)) => {
            let owner = rest.split_once('.').map_or(rest, |(owner, _)| owner);
            format!("{owner}/{name}")
        }
    }
}

/// Whether every name that `name` stands for is one that `pattern` stands for.
///
/// A leading `*` stands for at least one character, in a pattern and in a name.
pub fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == name,
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
    }
}

/// Whether a host is the name of one thing, as DNS has it: no wildcard and no address.
pub(super) fn is_single(host: &str) -> bool {
    !host.is_empty() && !host.contains('*') && host.parse::<IpAddr>().is_err()
}

/// The narrower of two patterns of which one covers the other.
pub fn intersect<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
    if covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

/// Whether all of `selector` is found in `labels`; an empty selector selects everything.
pub(super) fn selects<'a>(
    selector: impl IntoIterator<Item = (&'a String, &'a String)>,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    selector
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_name_without_a_dot_is_completed() {
        for (name, expected) in [
            ("reviews", "reviews.prod.svc.cluster.local"),
            ("reviews.test", "reviews.test"),
            (
                "reviews.test.svc.cluster.local",
                "reviews.test.svc.cluster.local",
            ),
            ("*", "*"),
            ("*.com", "*.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(resolve(name, "prod", "cluster.local"), expected, "{name}");
        }
    }

    #[test]
    fn gateway_references_become_namespace_and_name() {
        for (reference, expected) in [
            ("mesh", "mesh"),
            ("public", "prod/public"),
            ("./public", "prod/public"),
            ("edge/public", "edge/public"),
            ("public.edge", "edge/public"),
            ("public.edge.svc.cluster.local", "edge/public"),
        ] {
            assert_eq!(resolve_gateway(reference, "prod"), expected, "{reference}");
        }
    }

    #[test]
    fn the_narrower_pattern_is_what_two_have_in_common() {
        for (a, b, expected) in [
            ("*", "a.com", Some("a.com")),
            ("a.com", "*", Some("a.com")),
            ("*", "*", Some("*")),
            ("*.com", "a.com", Some("a.com")),
            ("*.com", "com", None),
            ("*.com", "*.a.com", Some("*.a.com")),
            ("*.a.com", "*.com", Some("*.a.com")),
            ("*.a.com", "*.b.com", None),
            ("a.com", "a.com", Some("a.com")),
            ("a.com", "b.com", None),
        ] {
            assert_eq!(intersect(a, b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn the_short_form_is_what_a_name_was_completed_from() {
        for (host, expected) in [
            ("reviews.prod.svc.cluster.local", Some(("reviews", "prod"))),
            ("a.reviews.prod.svc.cluster.local", None),
            ("*.prod.svc.cluster.local", None),
            (".prod.svc.cluster.local", None),
            ("reviews.svc.cluster.local", None),
            ("reviews.prod.svc.other", None),
            ("reviews.prod", None),
            ("reviews", None),
        ] {
            assert_eq!(short_form(host, "cluster.local"), expected, "{host}");
        }
    }

    proptest! {
        #[test]
        fn resolving_twice_is_resolving_once(
            name in "[a-z0-9*.:-]{0,20}",
            namespace in "[a-z][a-z0-9-]{0,10}",
            other in "[a-z][a-z0-9-]{0,10}",
        ) {
            let once = resolve(&name, &namespace, "cluster.local");

            prop_assert_eq!(resolve(&once, &other, "cluster.local"), once);
        }
    }
}
