//! Objects that users write, one by one: how the API server is asked for one, and what it says.

use kube::api::ApiResource;
use serde_json::Value;

use super::kind::{KINDS, Kind};
use super::read::{self, Read};
use crate::event::Object;

/// Ends of the API groups whose kinds are the mesh's own. The conditions of others are not ours to write.
const GROUPS: [&str; 2] = [".istio.io", ".meshproxy.io"];

/// Whether objects of a kind have conditions of the mesh.
pub(crate) fn has_conditions(kind: &str) -> bool {
    find(kind).is_some()
}

/// How the API server may be asked for objects of a kind: in each of its versions, of which it may serve
/// only some. The one that our definitions keep comes first.
pub(crate) fn apis(kind: &str) -> impl Iterator<Item = ApiResource> {
    let kind = find(kind).into_iter();
    kind.flat_map(|kind| kind.versions.iter().map(|version| kind.api(version)))
}

/// What an object of a kind says, as the watch would tell it.
pub(crate) fn read(kind: &str, value: Value) -> Option<Object> {
    match read::object(find(kind)?, value) {
        Read::Object(object) => Some(object),
        Read::NotOurs(_) => None,
    }
}

fn find(kind: &str) -> Option<&'static Kind> {
    let mut kinds = KINDS.iter();
    kinds.find(|it| it.name == kind && GROUPS.iter().any(|end| it.group.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_of_the_mesh_have_conditions() {
        for kind in ["VirtualService", "AuthorizationPolicy", "RateLimitPolicy"] {
            assert!(has_conditions(kind), "{kind}");
        }
        for kind in [
            "Service",
            "EndpointSlice",
            "Secret",
            "MeshConfig",
            "Pod",
            "Other",
        ] {
            assert!(!has_conditions(kind), "{kind}");
        }
        let first = apis("Gateway").next().expect("a kind of the mesh");
        assert_eq!(
            (first.api_version.as_str(), first.plural.as_str()),
            ("networking.istio.io/v1", "gateways")
        );
    }
}
