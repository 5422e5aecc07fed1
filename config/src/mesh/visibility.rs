//! Who sees what: `exportTo` of a resource and the egress hosts of a `Sidecar`.

use super::name;

/// Whether a resource of `owner` with this `exportTo` is seen from `namespace`.
///
/// Empty means everywhere; `.` the owner, `*` everywhere, `~` nowhere.
pub(super) fn exported(export_to: &[String], owner: &str, namespace: &str) -> bool {
    export_to.is_empty()
        || export_to.iter().any(|target| match target.as_str() {
            "*" => true,
            "." => owner == namespace,
            "~" => false,
            named => named == namespace,
        })
}

/// Whether some namespace sees both of two resources, each given by `exportTo` and namespace.
pub(crate) fn exports_overlap(a: (&[String], &str), b: (&[String], &str)) -> bool {
    let everywhere = |(export_to, _): (&[String], &str)| {
        export_to.is_empty() || export_to.iter().any(|target| target == "*")
    };
    let nowhere = |(export_to, _): (&[String], &str)| {
        !export_to.is_empty() && export_to.iter().all(|target| target == "~")
    };
    if everywhere(a) || everywhere(b) {
        return !nowhere(a) && !nowhere(b);
    }
    let named = |target: &String| {
        if target == "." {
            a.1.to_owned()
        } else {
            target.clone()
        }
    };
    a.0.iter()
        .filter(|target| *target != "~")
        .map(named)
        .any(|ns| exported(b.0, b.1, &ns))
}

/// How the name of an imported thing must relate to the pattern of an egress host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The pattern covers the name: services.
    Covered,
    /// Either covers the other: hosts of a `VirtualService`.
    Overlapping,
}

/// Whether the egress hosts of a `Sidecar` import `host` of namespace `owner` for `namespace`.
///
/// A host is `namespace/name`, where the namespace is one by name, `.` for the viewer's, `*` for
/// all, `~` for none; `~namespace/name` takes out what others let in, whatever the order.
pub(super) fn imports(
    hosts: &[String],
    namespace: &str,
    (owner, host): (&str, &str),
    relation: Relation,
) -> bool {
    let related = |pattern: &str| match relation {
        Relation::Covered => name::covers(pattern, host),
        Relation::Overlapping => name::intersect(pattern, host).is_some(),
    };
    let of_owner = |scope: &str| match scope {
        "*" => true,
        "." => owner == namespace,
        named => named == owner,
    };
    let mut imported = false;
    for entry in hosts {
        let Some((scope, pattern)) = entry.split_once('/') else {
            continue;
        };
        match scope.strip_prefix('~') {
            Some("") => {}
            Some(excluded) => {
                if of_owner(excluded) && name::covers(pattern, host) {
                    return false;
                }
            }
            None => imported = imported || (of_owner(scope) && related(pattern)),
        }
    }
    imported
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn export_to_says_who_sees_a_resource() {
        for (export_to, own, other) in [
            (&[][..], true, true),
            (&["*"], true, true),
            (&["."], true, false),
            (&["~"], false, false),
            (&["other"], false, true),
            (&[".", "other"], true, true),
            (&["third"], false, false),
        ] {
            assert_eq!(
                exported(&list(export_to), "own", "own"),
                own,
                "{export_to:?} own"
            );
            assert_eq!(
                exported(&list(export_to), "own", "other"),
                other,
                "{export_to:?} other"
            );
        }
    }

    #[test]
    fn egress_hosts_say_what_is_imported() {
        for (hosts, expected) in [
            (&["*/*"][..], true),
            (&["./*"], false),
            (&["prod/*"], true),
            (&["prod/*.example.com"], true),
            (&["*/a.example.com"], true),
            (&["*/b.example.com"], false),
            (&["test/*"], false),
            (&["~/*"], false),
            (&["*/*", "~prod/*"], false),
            (&["~prod/*", "*/*"], false),
            (&["*/*", "~prod/b.example.com"], true),
            (&["*/*", "~test/*"], true),
            (&[], false),
        ] {
            let imported = imports(
                &list(hosts),
                "own",
                ("prod", "a.example.com"),
                Relation::Covered,
            );

            assert_eq!(imported, expected, "{hosts:?}");
        }
    }

    #[test]
    fn a_wildcard_route_is_imported_by_a_name_within_it() {
        let hosts = list(&["*/a.example.com"]);
        let route = ("prod", "*.example.com");

        assert!(imports(&hosts, "own", route, Relation::Overlapping));
        assert!(!imports(&hosts, "own", route, Relation::Covered));
    }
}
