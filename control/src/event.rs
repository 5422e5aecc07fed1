//! What sources tell of the mesh: objects that come, change and go. A source knows clients and files;
//! who takes events does not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use config::Resource;
use config::wire::Name;

/// Something changed.
#[derive(Debug, Clone)]
pub enum Event {
    /// Objects came or changed.
    Applied(Vec<Object>),
    /// Objects are gone. One that was never told of may be among them.
    Deleted(Vec<Name>),
    /// All objects of one kind, as a list gives them: what of it is not among them is gone.
    Listed {
        /// Kind as written in YAML.
        kind: &'static str,
        /// The objects.
        objects: Vec<Object>,
    },
    /// Everything there is, of all kinds: what is not among it is gone.
    Everything(Vec<Object>),
    /// Every kind was listed once: from now on what is not known does not exist.
    Synced,
}

/// One object of the mesh.
#[derive(Debug, Clone)]
pub enum Object {
    /// A resource that passed validation.
    Resource(Arc<Resource>),
    /// A resource that did not. Its last good form stays, if there is one.
    Refused(Refused),
    /// A pod: what is known of the workload behind an endpoint.
    Pod(Pod),
    /// A node: where the pods on it are.
    Node(Node),
}

/// A resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which one.
    pub name: Name,
    /// Why, for people; never empty.
    pub reasons: Vec<String>,
}

/// What endpoints take over from their pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Labels, by which subsets select.
    pub labels: BTreeMap<String, String>,
    /// Service account, which gives the identity.
    pub service_account: String,
    /// Node that it runs on; empty while it does not.
    pub node: Arc<str>,
    /// Addresses; empty while it has none.
    pub addresses: Vec<IpAddr>,
}

/// Where a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `topology.istio.io/subzone`.
    pub subzone: String,
}

// === impl Object ===

impl Object {
    /// What it is called.
    pub fn name(&self) -> Name {
        match self {
            Self::Resource(resource) => Name::of(resource),
            Self::Refused(refused) => refused.name.clone(),
            Self::Pod(pod) => Name::new("Pod", &pod.namespace, &pod.name),
            Self::Node(node) => Name::new("Node", "", &node.name),
        }
    }
}
