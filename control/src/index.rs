//! All we know of the mesh, fed by events. It holds no client.
//!
//! What proxies are told from is a [`Generation`]: it never changes, and whoever has one sees everything
//! as it was at one time.

use std::sync::Arc;

use bytes::Bytes;
use config::Resource;
use config::mesh::Mesh;
use config::wire::Name;
use rustc_hash::FxHashMap;

/// The mesh at one time.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Counts generations; the first is 1.
    pub number: u64,
    /// All resources but slices of endpoints, with the lookup rules of the language. The same object
    /// as before where nothing of it changed.
    pub mesh: Arc<Mesh>,
    /// Everything that may be told to a proxy, slices of endpoints among it.
    pub entries: Arc<FxHashMap<Name, Entry>>,
    /// Slices of each Kubernetes service, by namespace and name.
    pub slices: Arc<FxHashMap<ServiceKey, Vec<Name>>>,
}

/// Namespace and name of a Kubernetes service.
pub type ServiceKey = (Arc<str>, Arc<str>);

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
