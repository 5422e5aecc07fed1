//! Which kinds there are, under which API versions, and what we do with each.

use crate::decode::words::{nearest, quote};

/// The kinds that steer traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    Sidecar,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    RateLimitPolicy,
    ConfigMap,
    IstioOperator,
    Service,
    EndpointSlice,
    Secret,
}

/// What a document is, judged by its `apiVersion` and `kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// Read and used.
    Steering(Steering),
    /// Accepted; the reason why nothing comes of it.
    Idle(&'static str),
    /// `items` are documents of their own.
    List,
    /// The `apiVersion` is wrong; the message.
    WrongVersion(String),
    /// The `kind` is unknown; the message.
    WrongKind(String),
}

struct Known {
    kind: &'static str,
    versions: &'static [&'static str],
    fate: Fate,
}

#[derive(Clone, Copy)]
enum Fate {
    Used(Steering),
    Later,
    Never,
    Retired,
}

const NO_EFFECT: &str = "has no effect yet";
const NOT_SUPPORTED: &str = "is not supported";
const RETIRED: &str =
    "is retired and has no effect; `meshproxy migrate` turns it into today's resources";
const NOT_USED: &str = "is not used by the proxy";

const NETWORKING: &[&str] = &[
    "networking.istio.io/v1",
    "networking.istio.io/v1beta1",
    "networking.istio.io/v1alpha3",
];
const SECURITY: &[&str] = &["security.istio.io/v1", "security.istio.io/v1beta1"];
/// Groups of which nothing is left.
const RETIRED_GROUPS: [&str; 2] = ["config.istio.io", "authentication.istio.io"];
const RBAC: &[&str] = &["rbac.istio.io/v1alpha1"];

const KNOWN: &[Known] = &[
    used("VirtualService", NETWORKING, Steering::VirtualService),
    used("DestinationRule", NETWORKING, Steering::DestinationRule),
    used("Gateway", NETWORKING, Steering::Gateway),
    used("ServiceEntry", NETWORKING, Steering::ServiceEntry),
    used("WorkloadEntry", NETWORKING, Steering::WorkloadEntry),
    used("Sidecar", NETWORKING, Steering::Sidecar),
    used("PeerAuthentication", SECURITY, Steering::PeerAuthentication),
    used(
        "RequestAuthentication",
        SECURITY,
        Steering::RequestAuthentication,
    ),
    used(
        "AuthorizationPolicy",
        SECURITY,
        Steering::AuthorizationPolicy,
    ),
    used(
        "RateLimitPolicy",
        &["policy.meshproxy.io/v1alpha1"],
        Steering::RateLimitPolicy,
    ),
    used("ConfigMap", &["v1"], Steering::ConfigMap),
    used(
        "IstioOperator",
        &["install.istio.io/v1alpha1"],
        Steering::IstioOperator,
    ),
    used("Service", &["v1"], Steering::Service),
    used(
        "EndpointSlice",
        &["discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"],
        Steering::EndpointSlice,
    ),
    used("Secret", &["v1"], Steering::Secret),
    later("WorkloadGroup", NETWORKING),
    later(
        "ProxyConfig",
        &["networking.istio.io/v1beta1", "networking.istio.io/v1"],
    ),
    later(
        "Telemetry",
        &["telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1"],
    ),
    never("EnvoyFilter", &["networking.istio.io/v1alpha3"]),
    never("WasmPlugin", &["extensions.istio.io/v1alpha1"]),
    retired("ServiceRole", RBAC),
    retired("ServiceRoleBinding", RBAC),
    retired("RbacConfig", RBAC),
    retired("ClusterRbacConfig", RBAC),
];

// === impl Steering ===

impl Steering {
    /// Whether a document of this kind has nothing beside its `spec` and what all kinds have.
    pub(crate) fn is_strict(self) -> bool {
        match self {
            Self::VirtualService
            | Self::DestinationRule
            | Self::Gateway
            | Self::ServiceEntry
            | Self::WorkloadEntry
            | Self::Sidecar
            | Self::PeerAuthentication
            | Self::RequestAuthentication
            | Self::AuthorizationPolicy
            | Self::RateLimitPolicy => true,
            Self::ConfigMap
            | Self::IstioOperator
            | Self::Service
            | Self::EndpointSlice
            | Self::Secret => false,
        }
    }
}

/// Sorts a document into what is read, what is accepted and what is wrong.
pub(crate) fn classify(api_version: &str, kind: &str, has_items: bool) -> Class {
    if has_items && kind.ends_with("List") {
        return Class::List;
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let Some(known) = KNOWN.iter().find(|known| known.kind == kind) else {
        return unknown(group, api_version, kind);
    };
    if known.versions.contains(&api_version) {
        return match known.fate {
            Fate::Used(steering) => Class::Steering(steering),
            Fate::Later => Class::Idle(NO_EFFECT),
            Fate::Never => Class::Idle(NOT_SUPPORTED),
            Fate::Retired => Class::Idle(RETIRED),
        };
    }
    // Other projects have a kind `Gateway` or `Service` of their own.
    let shared = matches!(kind, "Gateway" | "Service" | "Telemetry" | "ProxyConfig");
    if shared && group.contains('.') && !is_ours(group) && group != "discovery.k8s.io" {
        return Class::Idle(NOT_USED);
    }
    Class::WrongVersion(format!(
        "must be {} for kind {kind}, got {}",
        known.versions.join(" or "),
        quote(api_version)
    ))
}

fn unknown(group: &str, api_version: &str, kind: &str) -> Class {
    if !is_ours(group) {
        return Class::Idle(NOT_USED);
    }
    if RETIRED_GROUPS.contains(&group) {
        return Class::WrongVersion(format!("{api_version} {RETIRED}"));
    }
    let in_group = || {
        let prefix = format!("{group}/");
        KNOWN
            .iter()
            .filter(move |known| known.versions.iter().any(|v| v.starts_with(&prefix)))
            .map(|known| known.kind)
    };
    let near = nearest(kind, in_group()).or_else(|| nearest(kind, KNOWN.iter().map(|k| k.kind)));
    let all: Vec<&str> = in_group().collect();
    match near {
        Some(near) => Class::WrongKind(format!("unknown kind `{kind}`, did you mean `{near}`?")),
        None if all.is_empty() => {
            let groups = KNOWN.iter().flat_map(|known| known.versions).copied();
            let near = nearest(api_version, groups)
                .map_or_else(String::new, |near| format!(", did you mean {near}?"));
            Class::WrongVersion(format!("unknown group {}{near}", quote(group)))
        }
        None => Class::WrongKind(format!(
            "unknown kind `{kind}`; {group} has {}",
            all.join(", ")
        )),
    }
}

fn is_ours(group: &str) -> bool {
    group.ends_with(".istio.io") || group.ends_with(".meshproxy.io")
}

const fn used(kind: &'static str, versions: &'static [&'static str], steering: Steering) -> Known {
    Known {
        kind,
        versions,
        fate: Fate::Used(steering),
    }
}

const fn later(kind: &'static str, versions: &'static [&'static str]) -> Known {
    Known {
        kind,
        versions,
        fate: Fate::Later,
    }
}

const fn never(kind: &'static str, versions: &'static [&'static str]) -> Known {
    Known {
        kind,
        versions,
        fate: Fate::Never,
    }
}

const fn retired(kind: &'static str, versions: &'static [&'static str]) -> Known {
    Known {
        kind,
        versions,
        fate: Fate::Retired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_networking_kind_is_read() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let class = classify(&format!("networking.istio.io/{version}"), "Sidecar", false);

            assert_eq!(class, Class::Steering(Steering::Sidecar), "{version}");
        }
    }

    #[test]
    fn kinds_of_other_projects_are_not_used_even_when_they_share_a_name() {
        for (version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "Namespace"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("serving.knative.dev/v1", "Service"),
            ("argoproj.io/v1alpha1", "Rollout"),
        ] {
            assert_eq!(
                classify(version, kind, false),
                Class::Idle(NOT_USED),
                "{version} {kind}"
            );
        }
    }

    #[test]
    fn a_known_kind_under_a_wrong_version_names_the_right_ones() {
        let class = classify("v1", "VirtualService", false);

        assert!(
            matches!(class, Class::WrongVersion(text) if text.contains("networking.istio.io/v1 or "))
        );
    }

    #[test]
    fn a_misspelt_kind_of_an_istio_group_gets_a_suggestion() {
        let class = classify("networking.istio.io/v1", "VirtualServices", false);

        assert!(matches!(class, Class::WrongKind(text) if text.contains("`VirtualService`")));
    }

    #[test]
    fn a_retired_kind_names_the_command_that_turns_it_into_another() {
        let idle = classify("rbac.istio.io/v1alpha1", "ServiceRole", false);
        let wrong = classify("config.istio.io/v1alpha2", "memquota", false);

        assert!(matches!(idle, Class::Idle(text) if text.contains("`meshproxy migrate`")));
        assert!(matches!(wrong, Class::WrongVersion(text) if text.contains("`meshproxy migrate`")));
    }
}
