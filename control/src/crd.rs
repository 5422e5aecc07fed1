//! `CustomResourceDefinition`s of all kinds that are read, made from the types that read them.
//!
//! Names, fields and their descriptions are those of the types: nothing is written twice. Kinds that are
//! accepted without effect are defined too, with any content, so that files for Istio can be applied.

mod command;
mod rules;
mod structural;
#[cfg(test)]
mod tests;

use config::documents;
use config::resource::authorization_policy::AuthorizationPolicy;
use config::resource::destination_rule::DestinationRule;
use config::resource::gateway::Gateway;
use config::resource::peer_authentication::PeerAuthentication;
use config::resource::rate_limit_policy::RateLimitPolicy;
use config::resource::request_authentication::RequestAuthentication;
use config::resource::service_entry::ServiceEntry;
use config::resource::sidecar::Sidecar;
use config::resource::virtual_service::VirtualService;
use config::resource::workload_entry::WorkloadEntry;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

pub use command::{CrdsArgs, run};

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";

/// What stands first in the file of a definition.
const HEADER: &str =
    "# Written by `meshcontrol crds`; a test fails where it is not what that writes today.\n";

/// One definition.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, `PLURAL.GROUP`.
    pub name: String,
    /// The object for the API server.
    pub object: Value,
}

/// A kind and how it is called and shown.
struct Kind {
    group: &'static str,
    /// The first is the one that is stored.
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    columns: &'static [Column],
    spec: Spec,
}

/// A column of `kubectl get`: name and path.
struct Column(&'static str, &'static str);

/// What the `spec` of a kind is.
enum Spec {
    /// What a type says.
    Typed(fn() -> Schema),
    /// Anything.
    Open,
}

const V1: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY_V1: &[&str] = &["v1", "v1beta1"];

const KINDS: &[Kind] = &[
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "VirtualService",
        plural: "virtualservices",
        short: &["vs"],
        columns: &[
            Column("Gateways", ".spec.gateways"),
            Column("Hosts", ".spec.hosts"),
        ],
        spec: Spec::Typed(schema::<VirtualService>),
    },
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "DestinationRule",
        plural: "destinationrules",
        short: &["dr"],
        columns: &[Column("Host", ".spec.host")],
        spec: Spec::Typed(schema::<DestinationRule>),
    },
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "Gateway",
        plural: "gateways",
        short: &["gw"],
        columns: &[Column("Hosts", ".spec.servers[*].hosts")],
        spec: Spec::Typed(schema::<Gateway>),
    },
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "ServiceEntry",
        plural: "serviceentries",
        short: &["se"],
        columns: &[
            Column("Hosts", ".spec.hosts"),
            Column("Location", ".spec.location"),
            Column("Resolution", ".spec.resolution"),
        ],
        spec: Spec::Typed(schema::<ServiceEntry>),
    },
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "WorkloadEntry",
        plural: "workloadentries",
        short: &["we"],
        columns: &[Column("Address", ".spec.address")],
        spec: Spec::Typed(schema::<WorkloadEntry>),
    },
    Kind {
        group: NETWORKING,
        versions: V1,
        kind: "Sidecar",
        plural: "sidecars",
        short: &[],
        columns: &[],
        spec: Spec::Typed(schema::<Sidecar>),
    },
    Kind {
        group: SECURITY,
        versions: SECURITY_V1,
        kind: "PeerAuthentication",
        plural: "peerauthentications",
        short: &["pa"],
        columns: &[Column("Mode", ".spec.mtls.mode")],
        spec: Spec::Typed(schema::<PeerAuthentication>),
    },
    Kind {
        group: SECURITY,
        versions: SECURITY_V1,
        kind: "RequestAuthentication",
        plural: "requestauthentications",
        short: &["ra"],
        columns: &[Column("Issuers", ".spec.jwtRules[*].issuer")],
        spec: Spec::Typed(schema::<RequestAuthentication>),
    },
    Kind {
        group: SECURITY,
        versions: SECURITY_V1,
        kind: "AuthorizationPolicy",
        plural: "authorizationpolicies",
        short: &["ap"],
        columns: &[Column("Action", ".spec.action")],
        spec: Spec::Typed(schema::<AuthorizationPolicy>),
    },
    Kind {
        group: "policy.meshproxy.io",
        versions: &["v1alpha1"],
        kind: "RateLimitPolicy",
        plural: "ratelimitpolicies",
        short: &["rlp"],
        columns: &[
            Column("Scope", ".spec.scope"),
            Column("Limits", ".spec.limits[*].name"),
        ],
        spec: Spec::Typed(schema::<RateLimitPolicy>),
    },
    open(NETWORKING, V1, "WorkloadGroup", "workloadgroups", &["wg"]),
    open(
        NETWORKING,
        &["v1", "v1beta1"],
        "ProxyConfig",
        "proxyconfigs",
        &[],
    ),
    open(
        NETWORKING,
        &["v1alpha3"],
        "EnvoyFilter",
        "envoyfilters",
        &[],
    ),
    open(
        "telemetry.istio.io",
        &["v1", "v1alpha1"],
        "Telemetry",
        "telemetries",
        &["telemetry"],
    ),
    open(
        "extensions.istio.io",
        &["v1alpha1"],
        "WasmPlugin",
        "wasmplugins",
        &[],
    ),
];

/// A kind that is accepted without effect.
const fn open(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        versions,
        kind,
        plural,
        short,
        columns: &[],
        spec: Spec::Open,
    }
}

/// All definitions.
pub fn definitions() -> Vec<Definition> {
    KINDS.iter().map(Kind::definition).collect()
}

// === impl Definition ===

impl Definition {
    /// The definition as a file of the chart.
    pub fn print(&self) -> String {
        format!("{HEADER}{}", documents::print(&self.object))
    }
}

// === impl Kind ===

impl Kind {
    fn definition(&self) -> Definition {
        let name = format!("{}.{}", self.plural, self.group);
        let versions: Vec<Value> = self.versions.iter().map(|it| self.version(it)).collect();
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
            "categories": ["istio-io", self.group.replace('.', "-").trim_end_matches("-istio-io")],
        });
        if !self.short.is_empty() {
            names["shortNames"] = json!(self.short);
        }
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": name,
                "labels": {"app.kubernetes.io/part-of": "meshproxy"},
            },
            "spec": {
                "group": self.group,
                "names": names,
                "scope": "Namespaced",
                "versions": versions,
            },
        });
        Definition { name, object }
    }

    fn version(&self, version: &str) -> Value {
        let age = Column("Age", ".metadata.creationTimestamp");
        let columns: Vec<Value> = self
            .columns
            .iter()
            .chain([&age])
            .map(|Column(name, path)| {
                let kind = if *name == age.0 { "date" } else { "string" };
                json!({"name": name, "type": kind, "jsonPath": path})
            })
            .collect();
        json!({
            "name": version,
            "served": true,
            "storage": self.versions.first() == Some(&version),
            "additionalPrinterColumns": columns,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": self.schema()},
        })
    }

    fn schema(&self) -> Value {
        let mut spec = match self.spec {
            Spec::Typed(schema) => structural::of(schema().as_value()),
            Spec::Open => json!({
                "type": "object",
                "description": "Accepted and kept; it has no effect.",
                "x-kubernetes-preserve-unknown-fields": true,
            }),
        };
        rules::add(self.kind, &mut spec);
        json!({
            "type": "object",
            "properties": {
                "spec": spec,
                "status": {
                    "type": "object",
                    "description": "What became of it.",
                    "x-kubernetes-preserve-unknown-fields": true,
                },
            },
        })
    }
}

fn schema<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    // What they make of null and of words is not what API servers take.
    settings.transforms.clear();
    settings.into_generator().into_root_schema_for::<T>()
}
