//! Destinations: which there are, their numbers, and their endpoints.

mod build;
mod channel;
mod host;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use config::mesh::{Mesh, Protocol as Spoken, Service};
use config::resource::destination_rule::ConnectionPool;
use http::HeaderValue;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Perspective, Resolved};
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::Certificates;
use crate::upstream::destination::{Destination, DestinationId, DestinationKey, Destinations};
use crate::upstream::endpoint::EndpointAddr;
use crate::upstream::question::Place as ServicePlace;
use channel::Means;
pub(super) use host::{Host, same};

/// What metrics and log call whatever nobody told us of, as Istio does.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
/// The same where it leads nowhere.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
/// The same to ports of the workload.
const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// From where a host is looked up, which decides the services that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum View {
    /// Sidecar traffic: within the scope of the `Sidecar`.
    Mesh,
    /// Traffic through a gateway, which no `Sidecar` restricts.
    Gateway,
}

/// A destination and whose it is: by way of a gateway a host can be another namespace's service
/// than within the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    key: DestinationKey,
    owner: Arc<str>,
}

/// What a destination is built from.
#[derive(Debug, Clone)]
enum Blueprint {
    /// A port of a host, or of a subset of it.
    Host(Arc<Host>),
    /// The own workload.
    Workload(Box<Workload>),
    /// Whatever nobody told us of: the address that the caller asked for.
    Beyond,
    /// The same where it must not be reached.
    BlackHole,
}

/// The own workload behind one of its ports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Workload {
    /// Where the application listens; none for the address that the caller asked for.
    pub(super) addr: Option<EndpointAddr>,
    /// What it speaks.
    pub(super) spoken: Option<Spoken>,
    /// Host and namespace of the service that it serves, if one is known.
    pub(super) service: Option<(String, String)>,
    /// Limits of connections to it.
    pub(super) pool: ConnectionPool,
    /// Whether connections to it would be captured unless they said that they are ours.
    pub(super) from_own: bool,
}

/// What one generation refers to.
#[derive(Debug, Default)]
pub(super) struct Generation {
    /// By name and owner.
    hosts: FxHashMap<(Arc<str>, Arc<str>), Arc<Host>>,
    /// What was looked up; `None` for hosts that nobody serves.
    found: FxHashMap<(View, Arc<str>), Option<Arc<Host>>>,
    used: FxHashMap<Place, Blueprint>,
    means: Means,
}

/// Every destination that the routes of the current generation lead to.
#[derive(Debug)]
pub(super) struct Registry {
    perspective: Perspective,
    metrics: Arc<Metrics>,
    current: Generation,
    /// The generation in the making. Until it is committed nothing of the current one changes; what
    /// it adds to `ids` the next build takes back if it was given up.
    next: Generation,
    ids: FxHashMap<Place, DestinationId>,
    free: Vec<DestinationId>,
    built: FxHashMap<Place, (Blueprint, Arc<Destination>)>,
    /// What they are secured with.
    built_with: Means,
    resolved: Resolved,
    /// Names whose addresses changed since the last build.
    changed_names: FxHashSet<Arc<str>>,
    /// Whether the proxy was elsewhere at the last build, as far as was known.
    has_moved: bool,
}

// === impl Registry ===

impl Registry {
    pub(super) fn new(perspective: Perspective, metrics: Arc<Metrics>) -> Self {
        Self {
            perspective,
            metrics,
            current: Generation::default(),
            next: Generation::default(),
            ids: FxHashMap::default(),
            free: Vec::new(),
            built: FxHashMap::default(),
            built_with: Means::default(),
            resolved: Resolved::default(),
            changed_names: FxHashSet::default(),
            has_moved: false,
        }
    }

    /// Has the next build made from where the proxy is now.
    pub(super) fn move_to(&mut self, perspective: &Perspective) {
        self.perspective = perspective.clone();
        self.has_moved = true;
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Begins a generation: nothing is in use until a route says so. One that was begun before and
    /// not committed is given up.
    pub(super) fn begin(&mut self, certificates: &Certificates) {
        self.next = Generation {
            means: Means::of(certificates),
            ..Generation::default()
        };
    }

    /// Makes the generation that was begun the current one and returns the names that it needs.
    /// Forgets the addresses of names that neither it nor the one before needs: the resolver may not
    /// have noticed yet that a name was not wanted for the time of one generation, and would not
    /// tell its addresses again.
    pub(super) fn commit(&mut self) -> BTreeSet<Arc<str>> {
        let before = self.names();
        self.current = std::mem::take(&mut self.next);
        let names = self.names();
        self.resolved
            .retain(|name, _| names.contains(name) || before.contains(name));
        names
    }

    /// The host `name` as this proxy sees it.
    pub(super) fn host(&mut self, mesh: &Mesh, view: View, name: &str) -> Option<Arc<Host>> {
        let key = (view, Arc::from(name));
        if let Some(known) = self.next.found.get(&key) {
            return known.clone();
        }
        let viewer = &self.perspective.viewer;
        let service = match view {
            View::Mesh => mesh.service(viewer, name),
            View::Gateway => mesh.gateway_service(viewer, name),
        };
        let found = service.map(|service| self.host_of(mesh, name, service));
        self.next.found.insert(key, found.clone());
        found
    }

    /// The host `name` where its service is known.
    pub(super) fn host_of(&mut self, mesh: &Mesh, name: &str, service: &Arc<Service>) -> Arc<Host> {
        let owner = format!("{}/{}", service.namespace, service.host);
        let key: (Arc<str>, Arc<str>) = (name.into(), owner.into());
        if let Some(known) = self.next.hosts.get(&key) {
            return Arc::clone(known);
        }
        let viewer = &self.perspective.viewer;
        let policy = mesh.policy(viewer, name, Some(&service.namespace));
        let accepts = match self.next.means.has_identity() {
            true => host::accepts(mesh, service),
            false => Vec::new(),
        };
        let before = self.current.hosts.get(&key);
        let host = match before.filter(|host| host.is_made_of(service, &policy, &accepts)) {
            Some(host) => Arc::clone(host),
            None => Arc::new(Host {
                name: Arc::clone(&key.0),
                owner: Arc::clone(&key.1),
                service: Arc::clone(service),
                policy,
                accepts,
            }),
        };
        self.next.hosts.insert(key, Arc::clone(&host));
        host
    }

    /// Marks a destination as in use and gives its number.
    pub(super) fn host_destination(&mut self, host: &Arc<Host>, place: Place) -> DestinationId {
        self.use_place(place, Blueprint::Host(Arc::clone(host)))
    }

    /// Where a service is that the proxy asks, and how it is called. It serves the proxy, not the
    /// workload, whose `Sidecar` need not know of it.
    pub(super) fn service_place(&mut self, mesh: &Mesh, name: &str, port: u16) -> ServicePlace {
        let host = self.host(mesh, View::Gateway, name);
        let host = host.filter(|host| host.service.port(port).is_some());
        ServicePlace {
            destination: host.map(|host| {
                let place = host.place(None, port);
                self.host_destination(&host, place)
            }),
            authority: HeaderValue::try_from(format!("{name}:{port}"))
                .unwrap_or_else(|_| HeaderValue::from_static("service")),
        }
    }

    /// The destination of traffic to the own workload at `port`; 0 for those that nobody told us of.
    pub(super) fn workload_destination(&mut self, port: u16, workload: Workload) -> DestinationId {
        let host = if port == 0 { INBOUND_PASSTHROUGH } else { "" };
        let mut place = Place::unowned(host, port);
        place.key.inbound = true;
        self.use_place(place, Blueprint::Workload(Box::new(workload)))
    }

    /// The destination of captured traffic to addresses that nobody told us of.
    pub(super) fn beyond(&mut self) -> DestinationId {
        self.use_place(Place::unowned(PASSTHROUGH, 0), Blueprint::Beyond)
    }

    /// The same where they must not be reached.
    pub(super) fn black_hole(&mut self) -> DestinationId {
        self.use_place(Place::unowned(BLACK_HOLE, 0), Blueprint::BlackHole)
    }

    fn use_place(&mut self, place: Place, blueprint: Blueprint) -> DestinationId {
        let next = DestinationId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        let free = &mut self.free;
        let id = *self
            .ids
            .entry(place.clone())
            .or_insert_with(|| free.pop().unwrap_or(next));
        self.next.used.insert(place, blueprint);
        id
    }

    /// Marks destinations as in use that a remembered host leads to. What this generation already
    /// looked up stays: it is never older than what is remembered.
    pub(super) fn use_again(&mut self, hosts: &[(Arc<Host>, Place)]) {
        for (host, place) in hosts {
            let remembered = || Blueprint::Host(Arc::clone(host));
            let used = self.next.used.entry(place.clone());
            used.or_insert_with(remembered);
        }
    }

    /// Notes what DNS says.
    pub(super) fn resolved(&mut self, name: &str, addrs: &[IpAddr]) {
        let name: Arc<str> = name.into();
        self.resolved.insert(Arc::clone(&name), addrs.into());
        self.changed_names.insert(name);
    }

    /// Names that destinations in use need.
    fn names(&self) -> BTreeSet<Arc<str>> {
        let hosts = self
            .current
            .used
            .values()
            .filter_map(|blueprint| match blueprint {
                Blueprint::Host(host) => Some(host),
                Blueprint::Workload(_) | Blueprint::Beyond | Blueprint::BlackHole => None,
            });
        hosts
            .flat_map(|host| host.dns_names())
            .map(Arc::from)
            .collect()
    }

    /// Builds what is new or changed, keeps the rest, and forgets what is not in use.
    pub(super) fn build(&mut self) -> Destinations {
        let gone: Vec<Place> = self
            .ids
            .keys()
            .filter(|place| !self.current.used.contains_key(*place))
            .cloned()
            .collect();
        for place in gone {
            self.built.remove(&place);
            self.free.extend(self.ids.remove(&place));
        }
        let used = std::mem::take(&mut self.current.used);
        let secured_alike = self.built_with.is_same(&self.current.means);
        let has_moved = std::mem::take(&mut self.has_moved);
        for (place, blueprint) in &used {
            let before = self.built.get(place);
            let fresh = before.is_some_and(|(made_of, _)| {
                let secured_alike = secured_alike || blueprint.is_own();
                let same = made_of.is_same(blueprint) && secured_alike;
                same && !has_moved && !self.concerns_changed_name(blueprint)
            });
            if !fresh {
                let before = before.map(|(_, destination)| Arc::clone(destination));
                let made = self.destination(&place.key, blueprint, before.as_deref());
                self.built
                    .insert(place.clone(), (blueprint.clone(), Arc::new(made)));
            }
        }
        self.current.used = used;
        self.built_with = self.current.means.clone();
        self.changed_names.clear();
        let places = self
            .ids
            .values()
            .map(|id| id.0 as usize + 1)
            .max()
            .unwrap_or(0);
        let mut by_id = vec![None; places];
        for (place, id) in &self.ids {
            let built = self
                .built
                .get(place)
                .map(|(_, destination)| Arc::clone(destination));
            by_id[id.0 as usize] = built;
        }
        Destinations(by_id.into())
    }

    fn concerns_changed_name(&self, blueprint: &Blueprint) -> bool {
        match blueprint {
            Blueprint::Host(host) if !self.changed_names.is_empty() => host
                .dns_names()
                .any(|name| self.changed_names.contains(name)),
            Blueprint::Host(_) => false,
            Blueprint::Workload(_) | Blueprint::Beyond | Blueprint::BlackHole => false,
        }
    }
}

// === impl Place ===

impl Place {
    /// One that is no service's.
    fn unowned(host: &str, port: u16) -> Self {
        let key = DestinationKey {
            host: host.into(),
            port,
            subset: "".into(),
            inbound: false,
        };
        let owner = "".into();
        Self { key, owner }
    }
}

// === impl Blueprint ===

impl Blueprint {
    /// `namespace/name` of the rule that takes precedence.
    fn rule(&self) -> Option<Arc<str>> {
        match self {
            Self::Host(host) => {
                let meta = &host.policy.sources.first()?.meta;
                Some(format!("{}/{}", meta.namespace, meta.name).into())
            }
            Self::Workload(_) | Self::Beyond | Self::BlackHole => None,
        }
    }

    /// Whether nothing is between it and us that had to be secured, or we do not know how.
    fn is_own(&self) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Workload(_) | Self::Beyond | Self::BlackHole => true,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host(a), Self::Host(b)) => Arc::ptr_eq(a, b),
            (Self::Workload(a), Self::Workload(b)) => a == b,
            (Self::Beyond, Self::Beyond) | (Self::BlackHole, Self::BlackHole) => true,
            (Self::Host(_) | Self::Workload(_) | Self::Beyond | Self::BlackHole, _) => false,
        }
    }
}
