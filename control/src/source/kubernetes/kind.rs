//! What is watched.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;

use super::Settings;

/// One kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    /// As events call it.
    pub(super) name: &'static str,
    /// As the API server calls it.
    kind: &'static str,
    plural: &'static str,
    pub(super) group: &'static str,
    /// The first of them that is served is watched: a server gives every object in each of them.
    pub(super) versions: &'static [&'static str],
    pub(super) form: Form,
}

/// What objects of a kind become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A resource, read as files are.
    Resource,
    /// The same of the one `ConfigMap` that has the settings of the mesh.
    MeshConfig,
    /// The same of a secret, without what no Gateway may name.
    Secret,
    /// What endpoints take over from a pod.
    Pod,
    /// Where a node is; of nodes only metadata is asked for.
    Node,
}

const NETWORKING: &str = "networking.istio.io";
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &str = "security.istio.io";
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];

/// Name of the `ConfigMap` that has the settings of the mesh.
const MESH_CONFIG: &str = "istio";
/// Secrets that hold no certificates. They are not asked for: tokens and releases are many and large.
const OTHER_SECRETS: &str = "type!=kubernetes.io/service-account-token,\
    type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg,\
    type!=kubernetes.io/basic-auth,type!=kubernetes.io/ssh-auth,\
    type!=bootstrap.kubernetes.io/token,type!=helm.sh/release.v1";
/// Pods that have ended have given back their addresses.
const LIVING_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// All kinds.
pub(super) static KINDS: [Kind; 16] = [
    networking("VirtualService", "virtualservices"),
    networking("DestinationRule", "destinationrules"),
    networking("Gateway", "gateways"),
    networking("ServiceEntry", "serviceentries"),
    networking("WorkloadEntry", "workloadentries"),
    networking("Sidecar", "sidecars"),
    security("PeerAuthentication", "peerauthentications"),
    security("RequestAuthentication", "requestauthentications"),
    security("AuthorizationPolicy", "authorizationpolicies"),
    Kind {
        name: "RateLimitPolicy",
        kind: "RateLimitPolicy",
        plural: "ratelimitpolicies",
        group: "policy.meshproxy.io",
        versions: &["v1alpha1"],
        form: Form::Resource,
    },
    core("Service", "Service", "services", Form::Resource),
    Kind {
        name: "EndpointSlice",
        kind: "EndpointSlice",
        plural: "endpointslices",
        group: "discovery.k8s.io",
        versions: &["v1", "v1beta1"],
        form: Form::Resource,
    },
    core("Secret", "Secret", "secrets", Form::Secret),
    core("MeshConfig", "ConfigMap", "configmaps", Form::MeshConfig),
    core("Pod", "Pod", "pods", Form::Pod),
    core("Node", "Node", "nodes", Form::Node),
];

const fn networking(name: &'static str, plural: &'static str) -> Kind {
    Kind {
        name,
        kind: name,
        plural,
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        form: Form::Resource,
    }
}

const fn security(name: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: SECURITY,
        versions: SECURITY_VERSIONS,
        ..networking(name, plural)
    }
}

const fn core(name: &'static str, kind: &'static str, plural: &'static str, form: Form) -> Kind {
    Kind {
        name,
        kind,
        plural,
        group: "",
        versions: &["v1"],
        form,
    }
}

// === impl Kind ===

impl Kind {
    /// How the API server is asked for it in `version`.
    pub(super) fn api(&self, version: &str) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// Which of its objects are asked for, by their fields.
    pub(super) fn fields(&self) -> Option<String> {
        match self.form {
            Form::Resource | Form::Node => None,
            Form::Secret => Some(OTHER_SECRETS.to_owned()),
            Form::Pod => Some(LIVING_PODS.to_owned()),
            Form::MeshConfig => Some(format!("metadata.name={MESH_CONFIG}")),
        }
    }

    /// The namespaces in which it counts; none for all.
    pub(super) fn namespaces<'s>(&self, settings: &'s Settings) -> Vec<&'s str> {
        match self.form {
            Form::MeshConfig => vec![&settings.root_namespace],
            Form::Secret => settings
                .secret_namespaces
                .iter()
                .map(String::as_str)
                .collect(),
            Form::Resource | Form::Pod | Form::Node => Vec::new(),
        }
    }
}
