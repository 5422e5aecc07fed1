//! From the mesh as written to the table and destinations of this proxy.
//!
//! Compiling cannot fail: what passed validation compiles. A compiler remembers what it made and from
//! which resources, so that a change of one resource among thousands costs what depends on it: the
//! rest is the same object as before, and with it live state (endpoints, pools) stays.

mod admission;
mod authentication;
mod authorization;
mod balance;
mod budget;
mod destinations;
mod listeners;
mod outlier;
mod policy;
mod rate_limit;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use config::mesh::{Mesh, Viewer};
use rustc_hash::FxHashMap;

use crate::bootstrap::Locality;
use crate::inbound::authz::Series;
use crate::jwks::Issuers;
use crate::table::Table;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::upstream::destination::Destinations;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use authorization::fuzz as authorization_fuzz;
use balance::{Here, Place};
use destinations::Registry;
use listeners::{Made, Plan};
use rate_limit::{Ledger, LimitCompiler};

/// What does not change while the process runs and drives the compilation.
#[derive(Debug, Clone)]
pub struct Perspective {
    /// Who this proxy is for lookups.
    pub viewer: Viewer,
    /// Who this proxy is in metrics.
    pub identity: Identity,
    /// Cluster of this proxy, also that of its peers as far as it knows.
    pub cluster: String,
    /// Where this proxy is, if that is known.
    pub locality: Option<Locality>,
    /// Address of Gateway listeners and of Sidecar listeners that name none.
    pub bind: IpAddr,
    /// SPIFFE identity of this proxy's workload.
    pub principal: String,
    /// Whether it takes captured traffic.
    pub captures: bool,
}

/// Compiles one generation after another.
#[derive(Debug)]
pub struct Compiler {
    perspective: Perspective,
    metrics: Arc<Metrics>,
    registry: Registry,
    /// What listeners are made of.
    parts: Made,
    ledger: Ledger,
    /// Issuers of tokens whose keys are fetched.
    issuers: Issuers,
    table: Arc<Table>,
}

/// A generation that is not in use yet.
#[derive(Debug)]
pub struct Planned<'c> {
    compiler: &'c mut Compiler,
    table: Arc<Table>,
    /// What the compiler remembers of it; nothing once it does.
    made: Option<(Made, Ledger)>,
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

// === impl Perspective ===

impl Perspective {
    /// What locality settings compare endpoints with.
    fn here(&self) -> Here<'_> {
        Here {
            place: self.locality.as_ref().map(Place::here),
            labels: &self.viewer.labels,
            cluster: &self.cluster,
        }
    }
}

// === impl Compiler ===

impl Compiler {
    /// A compiler that has made nothing yet.
    pub fn new(perspective: Perspective, metrics: Arc<Metrics>) -> Self {
        Self {
            registry: Registry::new(perspective.clone(), Arc::clone(&metrics)),
            perspective,
            metrics,
            parts: Made::default(),
            ledger: Ledger::new(),
            issuers: Issuers::default(),
            table: Arc::default(),
        }
    }

    /// For whom it compiles.
    pub(crate) fn viewer(&self) -> &Viewer {
        &self.perspective.viewer
    }

    /// Notes where this proxy is; says whether that is news. The next generation has it, with destinations
    /// made anew of the same endpoints.
    pub(crate) fn move_to(&mut self, locality: Option<Locality>) -> bool {
        if self.perspective.locality == locality {
            return false;
        }
        self.perspective.locality = locality;
        self.registry.move_to(&self.perspective);
        true
    }

    /// Compiles a mesh that needs no certificates.
    pub fn compile(&mut self, mesh: &Mesh) -> Compiled {
        self.plan(mesh, &Certificates::default()).commit()
    }

    /// Compiles a mesh as far as its table, so that its listeners can be tried first. A plan that is
    /// dropped leaves everything as it was.
    pub fn plan(&mut self, mesh: &Mesh, certificates: &Certificates) -> Planned<'_> {
        self.registry.begin(certificates);
        let (perspective, registry) = (&self.perspective, &mut self.registry);
        let mut plan = Plan::new(mesh, perspective, certificates, registry, &self.parts);
        plan.admit(&mut self.issuers);
        plan.gateways();
        plan.sidecar();
        let (listeners, parts) = plan.finish();
        let limits = LimitCompiler {
            mesh,
            perspective: &self.perspective,
            registry: &mut self.registry,
            counters: &self.metrics.process.rate_limits,
            before: &self.ledger,
            ledger: self.ledger.next(),
        };
        let (limits, ledger) = limits.compile();
        Planned {
            compiler: self,
            table: Arc::new(Table {
                listeners,
                limits,
                normalization: mesh.wanted_normalization().map(Into::into),
            }),
            made: Some((parts, ledger)),
        }
    }

    /// Shows policies of authorization no longer that only another table has.
    fn forget_policies(&self, other: &Table, kept: &Table) {
        let series = |table: &Table| -> Series {
            let all = table.authorizations().into_iter();
            all.map(|it| it.series()).collect()
        };
        let counters = &self.metrics.process.authorization;
        counters.forget(&series(other), &series(kept));
    }

    /// Notes the addresses that DNS gives for `name` by now; [`Self::refresh`] puts them to use.
    pub fn resolved(&mut self, name: &str, addrs: &[IpAddr]) {
        self.registry.resolved(name, addrs);
    }

    /// The same table with destinations at the addresses that are known by now.
    pub fn refresh(&mut self) -> (Arc<Table>, Destinations) {
        (Arc::clone(&self.table), self.registry.build())
    }
}

// === impl Planned ===

impl Planned<'_> {
    /// The table that is planned.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Makes the plan the current generation.
    pub fn commit(mut self) -> Compiled {
        let compiler = &mut *self.compiler;
        if let Some((parts, ledger)) = self.made.take() {
            compiler.parts = parts;
            let before = std::mem::replace(&mut compiler.ledger, ledger);
            let counters = &compiler.metrics.process.rate_limits;
            compiler.ledger.forget(&before, counters);
            compiler.ledger.settle();
        }
        let before = std::mem::replace(&mut compiler.table, Arc::clone(&self.table));
        compiler.forget_policies(&before, &self.table);
        let names = compiler.registry.commit();
        Compiled {
            table: Arc::clone(&self.table),
            destinations: compiler.registry.build(),
            names,
        }
    }
}

impl Drop for Planned<'_> {
    /// What was planned and not committed is not shown in metrics, where its limits already are.
    fn drop(&mut self) {
        if let Some((_, given_up)) = &self.made {
            let compiler = &*self.compiler;
            let counters = &compiler.metrics.process.rate_limits;
            compiler.ledger.forget(given_up, counters);
            compiler.forget_policies(&self.table, &compiler.table);
        }
    }
}

/// Addresses by DNS name, as far as they are known.
type Resolved = FxHashMap<Arc<str>, Arc<[IpAddr]>>;
