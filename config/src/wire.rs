//! Resources as control plane and proxies tell each other of them: names, documents, versions.
//!
//! A resource travels as the document that it was written as, in JSON, so that both sides read it by
//! the code that reads files. In one thing they are milder than with files: a field that is not known
//! is skipped and told, because whoever sent it may be newer.
//!
//! Four types go over one stream. [`RESOURCES`] and [`ENDPOINTS`] are the same but for their pace:
//! slices of endpoints change all the time. What belongs to a proxy of both is for the control plane
//! to decide; a proxy asks by [`DEMANDS`]: for a host or an address that its workload wants to reach.
//! The answer to a demand comes after everything that is needed to meet it. Before all of these comes
//! [`WORKLOAD`], what the control plane knows of the proxy itself: whoever compiles goes by that. More than fits into one
//! response comes in several; all but the last have an empty `system_version_info`, and what they say is
//! not complete.

use std::fmt;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::load::receive as read;
use crate::problem::Severity;
use crate::resource::{Resource, Spec};

#[cfg(test)]
mod tests;

/// Type of all resources that are no slices of endpoints.
pub const RESOURCES: &str = "type.googleapis.com/meshproxy.v1.Resource";
/// Type of `EndpointSlice` resources.
pub const ENDPOINTS: &str = "type.googleapis.com/meshproxy.v1.Endpoints";
/// Type of answers to demands.
pub const DEMANDS: &str = "type.googleapis.com/meshproxy.v1.Demand";
/// Type of what is known of the proxy's own workload: one resource, [`OWN`].
pub const WORKLOAD: &str = "type.googleapis.com/meshproxy.v1.Workload";
/// Name of the only resource of type [`WORKLOAD`].
pub const OWN: &str = "own";
/// Most characters of a host that a proxy may ask for: those of a DNS name.
const HOST_CHARS_MAX: usize = 253;

/// What a resource is called, uniquely in a mesh: `Kind/namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// As written in YAML.
    pub kind: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// What a workload wants to reach: `host:NAME` or `address:IP:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Demand {
    /// A host as its requests name it, in lower case and without port.
    Host(Box<str>),
    /// An address that a captured connection was going to.
    Address(SocketAddr),
}

/// The text is no name or no demand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form {1}")]
pub struct Malformed(String, &'static str);

/// A document that was received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The resource, if the document can be used.
    pub resource: Option<Arc<Resource>>,
    /// Why it cannot be used; empty if it can.
    pub refused: Vec<String>,
    /// What was skipped because it is not known here.
    pub skipped: Vec<String>,
}

/// What a proxy has to say of what it received: the message of the status with which it acknowledges
/// or rejects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Resources that cannot be used. Their last good forms stay.
    pub rejected: Vec<Remark>,
    /// Resources that are used without something in them.
    pub skipped: Vec<Remark>,
}

/// What is to be said of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Which one.
    pub name: String,
    /// What, for people.
    pub message: String,
}

// === impl Name ===

impl Name {
    /// The name of a resource.
    pub fn of(resource: &Resource) -> Self {
        Self::new(
            resource.kind(),
            &resource.meta.namespace,
            &resource.meta.name,
        )
    }

    /// A name of its parts.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: Arc::from(kind),
            namespace: Arc::from(namespace),
            name: Arc::from(name),
        }
    }

    /// Whether it travels among [`ENDPOINTS`].
    pub fn is_endpoints(&self) -> bool {
        &*self.kind == "EndpointSlice"
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

impl FromStr for Name {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(namespace), Some(name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Self::new(kind, namespace, name))
            }
            _ => Err(Malformed(text.to_owned(), "Kind/namespace/name")),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

// === impl Demand ===

impl Demand {
    /// The demand for a host as a request names it, without port; none if it is no name that could be
    /// in a mesh.
    pub fn host(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
        let legal = !name.is_empty() && name.len() <= HOST_CHARS_MAX && name.bytes().all(is_named);
        legal.then(|| Self::Host(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host:{host}"),
            Self::Address(address) => write!(f, "address:{address}"),
        }
    }
}

impl FromStr for Demand {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let parsed = match text.split_once(':') {
            Some(("host", name)) => Self::host(name),
            Some(("address", address)) => address.parse().ok().map(Self::Address),
            _ => None,
        };
        let form = "host:NAME or address:IP:PORT";
        parsed.ok_or_else(|| Malformed(text.to_owned(), form))
    }
}

// === impl Report ===

impl Report {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.skipped.is_empty()
    }
}

/// The document of a resource: what [`receive`] makes the same resource of.
pub fn document(resource: &Resource) -> String {
    let meta = &resource.meta;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(meta.name));
    metadata.insert("namespace".to_owned(), json!(meta.namespace));
    if !meta.labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(meta.labels));
    }
    if !meta.annotations.is_empty() {
        metadata.insert("annotations".to_owned(), json!(meta.annotations));
    }
    if let Some(time) = &meta.creation_timestamp {
        metadata.insert("creationTimestamp".to_owned(), json!(time));
    }
    let mut document = Map::new();
    let (api_version, kind) = type_of(&resource.spec);
    document.insert("apiVersion".to_owned(), json!(api_version));
    document.insert("kind".to_owned(), json!(kind));
    document.insert("metadata".to_owned(), Value::Object(metadata));
    let content = content(&resource.spec);
    match &resource.spec {
        // Their fields stand beside `metadata`.
        Spec::Service(_) | Spec::EndpointSlice(_) | Spec::Secret(_) => {
            document.extend(content.as_object().cloned().unwrap_or_default());
        }
        Spec::MeshConfig(_) => {
            document.insert("data".to_owned(), json!({"mesh": content.to_string()}));
        }
        _ => {
            document.insert("spec".to_owned(), content);
        }
    }
    Value::Object(document).to_string()
}

fn type_of(spec: &Spec) -> (&'static str, &'static str) {
    const NETWORKING: &str = "networking.istio.io/v1";
    const SECURITY: &str = "security.istio.io/v1";
    match spec {
        Spec::VirtualService(_) => (NETWORKING, "VirtualService"),
        Spec::DestinationRule(_) => (NETWORKING, "DestinationRule"),
        Spec::Gateway(_) => (NETWORKING, "Gateway"),
        Spec::ServiceEntry(_) => (NETWORKING, "ServiceEntry"),
        Spec::WorkloadEntry(_) => (NETWORKING, "WorkloadEntry"),
        Spec::Sidecar(_) => (NETWORKING, "Sidecar"),
        Spec::PeerAuthentication(_) => (SECURITY, "PeerAuthentication"),
        Spec::RequestAuthentication(_) => (SECURITY, "RequestAuthentication"),
        Spec::AuthorizationPolicy(_) => (SECURITY, "AuthorizationPolicy"),
        Spec::RateLimitPolicy(_) => ("policy.meshproxy.io/v1alpha1", "RateLimitPolicy"),
        Spec::MeshConfig(_) => ("v1", "ConfigMap"),
        Spec::Service(_) => ("v1", "Service"),
        Spec::EndpointSlice(_) => ("discovery.k8s.io/v1", "EndpointSlice"),
        Spec::Secret(_) => ("v1", "Secret"),
    }
}

/// The typed part of a resource, without what is not set.
fn content(spec: &Spec) -> Value {
    let value = match spec {
        Spec::VirtualService(spec) => serde_json::to_value(spec),
        Spec::DestinationRule(spec) => serde_json::to_value(spec),
        Spec::Gateway(spec) => serde_json::to_value(spec),
        Spec::ServiceEntry(spec) => serde_json::to_value(spec),
        Spec::WorkloadEntry(spec) => serde_json::to_value(spec),
        Spec::Sidecar(spec) => serde_json::to_value(spec),
        Spec::PeerAuthentication(spec) => serde_json::to_value(spec),
        Spec::RequestAuthentication(spec) => serde_json::to_value(spec),
        Spec::AuthorizationPolicy(spec) => serde_json::to_value(spec),
        Spec::RateLimitPolicy(spec) => serde_json::to_value(spec),
        Spec::MeshConfig(spec) => serde_json::to_value(spec),
        Spec::Service(spec) => serde_json::to_value(spec),
        Spec::EndpointSlice(spec) => serde_json::to_value(spec),
        Spec::Secret(secret) => {
            let map = |contents: &crate::resource::secret::Contents| -> Map<String, Value> {
                let entries = contents.revealed();
                entries
                    .map(|(name, text)| (name.to_owned(), json!(text)))
                    .collect()
            };
            Ok(json!({
                "type": secret.kind,
                "data": map(&secret.data),
                "stringData": map(&secret.string_data),
            }))
        }
    };
    let mut value = value.unwrap_or_default();
    prune(&mut value);
    value
}

/// Takes away fields that are null: that is how absence is written. What is empty stays: `{}` may mean
/// something.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// What tells one content of a document from another. It stays the same between processes.
pub fn version(document: &str) -> String {
    // Keys are fixed, as versions are compared across restarts.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(document.as_bytes());
    format!("{:016x}", hasher.finish())
}

/// Reads a document that was received under a name.
pub fn receive(name: &Name, document: &str) -> Received {
    match serde_json::from_str(document) {
        Ok(value) => accept(name, &value),
        Err(error) => refused(format!("is no JSON: {error}")),
    }
}

/// Reads a document that was received under a name and parsed already.
pub fn accept(name: &Name, value: &Value) -> Received {
    let loaded = read(&name.to_string(), value);
    let told = |severity| {
        let problems = loaded.problems.iter();
        let problems = problems.filter(move |problem| problem.severity == severity);
        problems.map(|problem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        })
    };
    let errors: Vec<String> = told(Severity::Error).collect();
    let skipped = || told(Severity::Warning).filter(|it| it.ends_with("was skipped"));
    match loaded.resources.as_slice() {
        [resource] if Name::of(resource) == *name && errors.is_empty() => Received {
            resource: Some(Arc::clone(resource)),
            refused: Vec::new(),
            skipped: skipped().collect(),
        },
        [resource] if errors.is_empty() => refused(format!("is {resource}")),
        _ if errors.is_empty() => refused("holds no resource".to_owned()),
        _ => Received {
            resource: None,
            refused: errors,
            skipped: Vec::new(),
        },
    }
}

fn refused(message: String) -> Received {
    Received {
        refused: vec![message],
        ..Received::default()
    }
}
