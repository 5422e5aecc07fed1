//! From the mesh as written to the table and destinations of this proxy.
//!
//! Compiling cannot fail: what passed validation compiles. A compiler remembers what it made and from
//! which resources, so that a change of one resource among thousands costs what depends on it: the
//! rest is the same object as before, and with it live state (endpoints, pools) stays.

mod destinations;
mod listeners;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use config::mesh::{Mesh, Viewer};
use rustc_hash::FxHashMap;

use crate::table::Table;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::upstream::destination::Destinations;
use destinations::Registry;
use listeners::{HostCache, Plan};

/// What does not change while the process runs and drives the compilation.
#[derive(Debug, Clone)]
pub struct Perspective {
    /// Who this proxy is for lookups.
    pub viewer: Viewer,
    /// Who this proxy is in metrics.
    pub identity: Identity,
    /// Cluster of this proxy, also that of its peers as far as it knows.
    pub cluster: String,
    /// Address of Gateway listeners and of Sidecar listeners that name none.
    pub bind: IpAddr,
}

/// Compiles one generation after another.
#[derive(Debug)]
pub struct Compiler {
    perspective: Perspective,
    registry: Registry,
    hosts: HostCache,
    table: Arc<Table>,
}

/// One generation.
#[derive(Debug)]
pub struct Compiled {
    /// Listeners, hosts and routes.
    pub table: Arc<Table>,
    /// Where routes lead.
    pub destinations: Destinations,
    /// Names that DNS has to resolve for the destinations.
    pub names: BTreeSet<Arc<str>>,
}

// === impl Compiler ===

impl Compiler {
    /// A compiler that has made nothing yet.
    pub fn new(perspective: Perspective, metrics: Arc<Metrics>) -> Self {
        Self {
            registry: Registry::new(perspective.clone(), metrics),
            perspective,
            hosts: HostCache::default(),
            table: Arc::default(),
        }
    }

    /// Compiles a mesh.
    pub fn compile(&mut self, mesh: &Mesh) -> Compiled {
        self.registry.begin();
        let mut plan = Plan::new(mesh, &self.perspective, &mut self.registry, &mut self.hosts);
        plan.gateways();
        plan.sidecar();
        self.table = Arc::new(Table {
            listeners: plan.finish(),
        });
        self.hosts.retain_used();
        self.publishable()
    }

    /// The same generation with the addresses that DNS gives for `name` by now.
    pub fn resolved(&mut self, name: &str, addrs: &[IpAddr]) -> Compiled {
        self.registry.resolved(name, addrs);
        self.publishable()
    }

    fn publishable(&mut self) -> Compiled {
        let destinations = self.registry.build();
        Compiled {
            table: Arc::clone(&self.table),
            destinations,
            names: self.registry.names(),
        }
    }
}

/// Addresses by DNS name, as far as they are known.
type Resolved = FxHashMap<Arc<str>, Arc<[IpAddr]>>;
