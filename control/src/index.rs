//! All we know of the mesh, fed by events. It holds no client.
//!
//! What proxies are told from is a [`Generation`]: it never changes, and whoever has one sees everything
//! as it was at one time. A generation shares with the one before all that did not change, so that a
//! change costs what it touches and not what there is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use config::Resource;
use config::mesh::Mesh;
use config::wire::Name;
use rustc_hash::FxHashSet;
use tokio::time::Instant;

mod debounce;
mod owner;
mod reach;
mod shards;
mod slices;
mod store;

pub use owner::run;
pub use shards::Shards;
pub use store::Index;

use crate::event::{Node, Pod};

/// The mesh at one time.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Counts generations; the first is 1.
    pub number: u64,
    /// When the first of the events came that made it another than the one before.
    pub since: Instant,
    /// All resources but slices of endpoints, with the lookup rules of the language. The same object
    /// as before where nothing of it changed.
    pub mesh: Arc<Mesh>,
    /// Everything that may be told to a proxy, slices of endpoints among it.
    pub entries: Shards<Name, Entry>,
    /// Slices of each Kubernetes service, by namespace and name.
    pub slices: Shards<ServiceKey, Arc<[Name]>>,
    /// Kubernetes services that have an endpoint at an address.
    pub served_at: Shards<IpAddr, Arc<[ServiceKey]>>,
    /// Pods, by namespace and name. None at all where the source knows no pods.
    pub pods: Shards<PodKey, Arc<Pod>>,
    /// Nodes by name.
    pub nodes: Shards<Arc<str>, Node>,
    /// Resources that cannot be used as they are, and why. Of one that was usable before the last good
    /// form is among the entries.
    pub refused: Arc<BTreeMap<Name, Vec<String>>>,
}

/// Namespace and name of a Kubernetes service.
pub type ServiceKey = (Arc<str>, Arc<str>);

/// Namespace and name of a pod.
pub type PodKey = (Arc<str>, Arc<str>);

/// One resource as it is told to proxies.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The resource; of a slice with what is known of its pods.
    pub resource: Arc<Resource>,
    /// Its document.
    pub document: Bytes,
    /// What tells this document from others of the same name.
    pub version: Arc<str>,
}

/// What makes a generation another than the one before.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Whether anything but endpoints and pods changed, so that the mesh is another.
    pub structure: bool,
    /// Whether what changed of it may concern anyone.
    pub everybody: bool,
    /// What else changed.
    pub touched: FxHashSet<Touched>,
}

/// Something that changes without the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Touched {
    /// Endpoints of a Kubernetes service.
    Service(ServiceKey),
    /// Which services have an endpoint at an address.
    Address(IpAddr),
    /// A pod.
    Pod(PodKey),
    /// A node.
    Node(Arc<str>),
    /// Routes or rules for a host, completed and in lower case.
    Host(Arc<str>),
    /// Routes or rules for whatever host.
    AnyHost,
    /// What is for workloads of a namespace.
    Namespace(Arc<str>),
}

// === impl Touched ===

impl Touched {
    /// A completed host, in whatever case it is written.
    pub(crate) fn host(host: &str) -> Self {
        match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Self::Host(host.to_ascii_lowercase().into()),
            false => Self::Host(host.into()),
        }
    }
}

// === impl Generation ===

impl Generation {
    /// The name as the entries hold it, so that whoever keeps it shares it with everyone.
    pub fn shared_name(&self, name: &Name) -> Option<&Name> {
        self.entries.get_key_value(name).map(|(name, _)| name)
    }
}
