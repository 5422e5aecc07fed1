//! All services, by host.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::kinds::Kinds;
use super::service::{Endpoint, Service};
use super::{kubernetes, name, service_entry};
use crate::resource::{Resource, Spec};

/// All services, by host; of several for one host the one that takes precedence first.
#[derive(Debug, Default)]
pub(super) struct Registry {
    services: Vec<Arc<Service>>,
    by_host: FxHashMap<String, Vec<Arc<Service>>>,
    /// Wildcard hosts, longest first, so that the first that covers a name is the most specific.
    wildcards: Vec<String>,
    domain: String,
}

/// `WorkloadEntry` resources by namespace, slices by namespace and service.
struct Backing<'a> {
    workloads: FxHashMap<&'a str, Vec<Arc<Resource>>>,
    slices: FxHashMap<&'a str, FxHashMap<&'a str, Vec<Arc<Resource>>>>,
}

impl Registry {
    /// Builds the registry from resources that are ordered by precedence.
    pub(super) fn new(kinds: &Kinds, domain: &str) -> Self {
        let backing = Backing::new(kinds);
        let mut registry = Self {
            domain: domain.to_owned(),
            ..Self::default()
        };
        // Kubernetes first: no ServiceEntry may take the name of a Kubernetes service.
        for resource in &kinds.services {
            if let Spec::Service(written) = &resource.spec {
                let namespace = resource.meta.namespace.as_str();
                let slices = backing.slices(namespace, &resource.meta.name);
                let workloads = backing.workloads(namespace);
                registry.add(kubernetes::service(
                    resource, written, slices, workloads, domain,
                ));
            }
        }
        let places: FxHashMap<String, usize> = registry
            .services
            .iter()
            .enumerate()
            .map(|(at, s)| (s.host.clone(), at))
            .collect();
        for resource in &kinds.service_entries {
            if let Spec::ServiceEntry(entry) = &resource.spec {
                let workloads = backing.workloads(&resource.meta.namespace);
                for service in service_entry::services(resource, entry, workloads) {
                    match places.get(&service.host) {
                        Some(&at) => registry.decorate(at, service),
                        None => registry.merge(service),
                    }
                }
            }
        }
        registry.index();
        registry
    }

    pub(super) fn all(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Services with exactly this host, the one that takes precedence first.
    pub(super) fn of(&self, host: &str) -> &[Arc<Service>] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// Whether someone has a service under this host, wildcards aside.
    pub(super) fn has(&self, host: &str) -> bool {
        !self.of(host).is_empty() || self.written_short(host).next().is_some()
    }

    /// Services of a `ServiceEntry` whose host is the short form of this one. Such hosts stay as they
    /// are written, but whoever refers to them by the same short name means the completed one.
    fn written_short(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        let short = name::short_form(host, &self.domain);
        short.into_iter().flat_map(|(name, namespace)| {
            let services = self.of(name).iter();
            services.filter(move |service| service.namespace == namespace)
        })
    }

    /// What `pick` picks among the services with this host, else among those that have its short
    /// form, else among those of the wildcards that cover it, longest first.
    pub(super) fn find<'a>(
        &'a self,
        host: &str,
        pick: impl Fn(&'a [Arc<Service>]) -> Option<&'a Arc<Service>>,
    ) -> Option<&'a Arc<Service>> {
        let covering = |wildcard: &&String| *wildcard != host && name::covers(wildcard, host);
        pick(self.of(host))
            .or_else(|| {
                self.written_short(host)
                    .find_map(|service| pick(std::slice::from_ref(service)))
            })
            .or_else(|| {
                self.wildcards
                    .iter()
                    .filter(covering)
                    .find_map(|wildcard| pick(self.of(wildcard)))
            })
    }

    /// All that [`Self::find`] may pick from, as it is asked: services with this host, those with its
    /// short form, and those of each wildcard that covers it.
    pub(super) fn candidates(&self, host: &str) -> Vec<&[Arc<Service>]> {
        let covering = |wildcard: &&String| *wildcard != host && name::covers(wildcard, host);
        let short = self.written_short(host).map(std::slice::from_ref);
        let wildcards = self.wildcards.iter().filter(covering);
        let wildcards = wildcards.map(|wildcard| self.of(wildcard));
        let exact = std::iter::once(self.of(host));
        exact.chain(short).chain(wildcards).collect()
    }

    fn add(&mut self, service: Service) {
        self.services.push(Arc::new(service));
    }

    /// A `ServiceEntry` for the host of a Kubernetes service adds names to verify, nothing else.
    fn decorate(&mut self, at: usize, decorator: Service) {
        let service = Arc::make_mut(&mut self.services[at]);
        if service.namespace == decorator.namespace {
            service
                .subject_alt_names
                .extend(decorator.subject_alt_names);
            service.sources.extend(decorator.sources);
        }
    }

    /// Adds a service, or its ports and endpoints to an older one of the same host and namespace.
    fn merge(&mut self, service: Service) {
        let slot = self.by_host.entry(service.host.clone()).or_default();
        let older = slot.iter_mut().find(|older| {
            older.namespace == service.namespace && older.export_to == service.export_to
        });
        match older {
            Some(older) => absorb(Arc::make_mut(older), service),
            None => slot.push(Arc::new(service)),
        }
    }

    /// Completes the index: `merge` has put the merged services there, `add` those of Kubernetes
    /// into the list.
    fn index(&mut self) {
        let mut merged: Vec<Arc<Service>> = self.by_host.values().flatten().cloned().collect();
        merged.sort_by(|a, b| (&a.host, &a.namespace).cmp(&(&b.host, &b.namespace)));
        for service in &self.services {
            self.by_host
                .entry(service.host.clone())
                .or_default()
                .push(Arc::clone(service));
        }
        self.services.extend(merged);
        self.wildcards = self
            .by_host
            .keys()
            .filter(|h| h.starts_with('*'))
            .cloned()
            .collect();
        self.wildcards
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    }
}

impl<'a> Backing<'a> {
    fn new(kinds: &'a Kinds) -> Self {
        let mut workloads: FxHashMap<_, Vec<_>> = FxHashMap::default();
        for workload in &kinds.workload_entries {
            workloads
                .entry(workload.meta.namespace.as_str())
                .or_default()
                .push(Arc::clone(workload));
        }
        let mut slices: FxHashMap<_, FxHashMap<_, Vec<_>>> = FxHashMap::default();
        for slice in &kinds.endpoint_slices {
            if let Some(service) = kubernetes::service_of_slice(slice) {
                let of_namespace = slices.entry(slice.meta.namespace.as_str()).or_default();
                of_namespace
                    .entry(service)
                    .or_default()
                    .push(Arc::clone(slice));
            }
        }
        Self { workloads, slices }
    }

    fn workloads(&self, namespace: &str) -> &[Arc<Resource>] {
        self.workloads.get(namespace).map_or(&[], Vec::as_slice)
    }

    fn slices(&self, namespace: &str, service: &str) -> &[Arc<Resource>] {
        let of_namespace = self.slices.get(namespace);
        of_namespace
            .and_then(|slices| slices.get(service))
            .map_or(&[], Vec::as_slice)
    }
}

/// Takes over the ports that the older service lacks, and all endpoints.
fn absorb(older: &mut Service, newer: Service) {
    for port in newer.ports {
        if older.port(port.number).is_none() {
            older.ports.push(port);
        }
    }
    for endpoint in newer.endpoints {
        match older
            .endpoints
            .iter_mut()
            .find(|known| is_same(known, &endpoint))
        {
            Some(known) => known.ports = known.ports.iter().chain(endpoint.ports.iter()).collect(),
            None => older.endpoints.push(endpoint),
        }
    }
    for address in newer.addresses {
        if !older.addresses.contains(&address) {
            older.addresses.push(address);
        }
    }
    older.subject_alt_names.extend(newer.subject_alt_names);
    older.sources.extend(newer.sources);
}

/// Whether two endpoints are one that serves different ports of a host.
fn is_same(a: &Endpoint, b: &Endpoint) -> bool {
    let disjoint = b
        .ports
        .iter()
        .all(|(port, target)| a.ports.get(port).is_none_or(|other| other == target));
    disjoint && a.address == b.address && a.labels == b.labels && a.weight == b.weight
}
