//! `ServiceEntry` and `WorkloadEntry` to services.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::{Address, Endpoint, Location, Port, PortMap, Protocol, Resolution, Service};
use crate::resource::service_entry::{self, ServiceEntry, ServicePort};
use crate::resource::workload_entry::WorkloadEntry;
use crate::resource::{Metadata, Resource, Spec};

/// Label that stands for `locality` where the field is unset; dots separate its parts.
const LOCALITY_LABEL: &str = "istio-locality";
/// Labels that name the workload of an endpoint without resource, best first.
const WORKLOAD_LABELS: [&str; 4] = [
    "service.istio.io/workload-name",
    "service.istio.io/canonical-name",
    "app.kubernetes.io/name",
    "app",
];

/// A service port on the way to endpoints: the number, the name, and the number there.
struct TargetPort<'a> {
    number: u16,
    name: &'a str,
    target: u16,
}

/// The services of one `ServiceEntry`, one for each host.
///
/// `workloads` are the `WorkloadEntry` resources of its namespace.
pub(super) fn services(
    resource: &Arc<Resource>,
    entry: &ServiceEntry,
    workloads: &[Arc<Resource>],
) -> Vec<Service> {
    let targets = target_ports(entry);
    let (selected, sources) = match &entry.workload_selector {
        Some(selector) => select(&selector.labels, workloads, &targets),
        None => (Vec::new(), Vec::new()),
    };
    let endpoints: Vec<Endpoint> = entry
        .endpoints
        .iter()
        .filter_map(|written| endpoint(written, None, &targets))
        .chain(selected)
        .collect();
    let resolution = resolution(entry.resolution);
    entry
        .hosts
        .iter()
        .map(|host| Service {
            host: host.clone(),
            namespace: resource.meta.namespace.clone(),
            name: resource.meta.name.clone(),
            ports: ports(entry),
            resolution,
            endpoints: of_host(host, entry, resolution, &endpoints, &targets),
            location: match entry.location {
                Some(service_entry::Location::MeshInternal) => Location::Inside,
                Some(service_entry::Location::MeshExternal) | None => Location::Outside,
            },
            addresses: entry.addresses.clone(),
            headless: false,
            subject_alt_names: entry.subject_alt_names.clone(),
            export_to: entry.export_to.clone(),
            sources: std::iter::once(resource).chain(&sources).cloned().collect(),
        })
        .collect()
}

/// Endpoint of a `WorkloadEntry` for the service ports that `target` maps.
pub(super) fn workload_endpoint(
    meta: &Metadata,
    written: &WorkloadEntry,
    ports: PortMap,
) -> Option<Endpoint> {
    let mut labels = written.labels.clone();
    labels.extend(meta.labels.clone());
    let workload = labels.get(WORKLOAD_LABELS[0]).unwrap_or(&meta.name).clone();
    Some(Endpoint {
        locality: written.locality.clone().or_else(|| locality_of(&labels)),
        address: Address::parse(&written.address)?,
        ports,
        labels: Arc::new(labels),
        weight: written.weight.unwrap_or(1).max(1),
        network: written.network.clone(),
        service_account: written.service_account.clone(),
        workload: Some(workload),
        ready: true,
    })
}

/// Whether a selector selects a `WorkloadEntry` by its labels, those of its metadata first.
pub(super) fn is_selected(
    selector: &BTreeMap<String, String>,
    meta: &Metadata,
    written: &WorkloadEntry,
) -> bool {
    selector
        .iter()
        .all(|(key, value)| meta.labels.get(key).or_else(|| written.labels.get(key)) == Some(value))
}

/// The ports that a proxy can serve: those of UDP are left out.
fn tcp_ports(entry: &ServiceEntry) -> impl Iterator<Item = &ServicePort> {
    let ports = entry.ports.iter();
    ports.filter(|port| !port.protocol.eq_ignore_ascii_case("UDP"))
}

fn ports(entry: &ServiceEntry) -> Vec<Port> {
    tcp_ports(entry)
        .filter_map(|port| {
            Some(Port {
                number: u16::try_from(port.number).ok()?,
                name: port.name.clone(),
                protocol: Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto),
            })
        })
        .collect()
}

fn target_ports(entry: &ServiceEntry) -> Vec<TargetPort<'_>> {
    tcp_ports(entry)
        .filter_map(|port| {
            let target = port
                .target_port
                .filter(|&target| target != 0)
                .unwrap_or(port.number);
            Some(TargetPort {
                number: u16::try_from(port.number).ok()?,
                name: &port.name,
                target: u16::try_from(target).ok()?,
            })
        })
        .collect()
}

/// Endpoints of one host: without any written, DNS resolves the host itself.
fn of_host(
    host: &str,
    entry: &ServiceEntry,
    resolution: Resolution,
    endpoints: &[Endpoint],
    targets: &[TargetPort<'_>],
) -> Vec<Endpoint> {
    match resolution {
        Resolution::OriginalDestination | Resolution::DynamicDns => Vec::new(),
        Resolution::Static => endpoints.to_vec(),
        Resolution::Dns | Resolution::DnsRoundRobin => {
            if !entry.endpoints.is_empty() || entry.workload_selector.is_some() {
                return endpoints.to_vec();
            }
            let itself = WorkloadEntry {
                address: host.to_owned(),
                ..WorkloadEntry::default()
            };
            endpoint(&itself, None, targets).into_iter().collect()
        }
    }
}

fn select(
    selector: &BTreeMap<String, String>,
    workloads: &[Arc<Resource>],
    targets: &[TargetPort<'_>],
) -> (Vec<Endpoint>, Vec<Arc<Resource>>) {
    let mut endpoints = Vec::new();
    let mut sources = Vec::new();
    for workload in workloads {
        if let Spec::WorkloadEntry(written) = &workload.spec
            && is_selected(selector, &workload.meta, written)
        {
            endpoints.extend(endpoint(written, Some(&workload.meta), targets));
            sources.push(Arc::clone(workload));
        }
    }
    (endpoints, sources)
}

/// Endpoint of an entry, with `meta` if it is a resource of its own.
fn endpoint(
    written: &WorkloadEntry,
    meta: Option<&Metadata>,
    targets: &[TargetPort<'_>],
) -> Option<Endpoint> {
    let ports = targets
        .iter()
        .map(|port| {
            let own = written
                .ports
                .get(port.name)
                .and_then(|&own| u16::try_from(own).ok());
            (port.number, own.unwrap_or(port.target))
        })
        .collect();
    if let Some(meta) = meta {
        return workload_endpoint(meta, written, ports);
    }
    let workload = WORKLOAD_LABELS
        .iter()
        .find_map(|&label| written.labels.get(label))
        .cloned();
    Some(Endpoint {
        address: Address::parse(&written.address)?,
        ports,
        labels: Arc::new(written.labels.clone()),
        weight: written.weight.unwrap_or(1).max(1),
        locality: written
            .locality
            .clone()
            .or_else(|| locality_of(&written.labels)),
        network: written.network.clone(),
        service_account: written.service_account.clone(),
        workload,
        ready: true,
    })
}

/// `region/zone/subzone` as labels of a workload have it, where they do: before what its node says.
pub fn locality_of(labels: &BTreeMap<String, String>) -> Option<String> {
    labels
        .get(LOCALITY_LABEL)
        .map(|label| label.replace('.', "/"))
}

fn resolution(written: Option<service_entry::Resolution>) -> Resolution {
    match written {
        None | Some(service_entry::Resolution::None) => Resolution::OriginalDestination,
        Some(service_entry::Resolution::Static) => Resolution::Static,
        Some(service_entry::Resolution::Dns) => Resolution::Dns,
        Some(service_entry::Resolution::DnsRoundRobin) => Resolution::DnsRoundRobin,
        Some(service_entry::Resolution::DynamicDns) => Resolution::DynamicDns,
    }
}

#[cfg(test)]
mod tests;
