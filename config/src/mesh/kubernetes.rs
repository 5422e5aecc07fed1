//! Kubernetes `Service` and `EndpointSlice` to services.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::{Address, Endpoint, Location, Port, PortMap, Protocol, Resolution, Service};
use super::service_entry::{is_selected, locality_of, workload_endpoint};
use crate::resource::kubernetes::{self, EndpointSlice, IntOrString, KubePort, ServiceSpec};
use crate::resource::workload_entry::WorkloadEntry;
use crate::resource::{Resource, Spec};

/// Label of a slice that names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Annotation of a `Service` that stands for `exportTo`, comma separated.
const EXPORT_TO_ANNOTATION: &str = "networking.istio.io/exportTo";
/// Well-known ports where the server speaks first, so that waiting for the client's bytes would
/// wait for ever: SMTP, DNS, MySQL, MongoDB.
const SERVER_FIRST_PORTS: [u32; 4] = [25, 53, 3306, 27017];
/// Letters and digits of which Kubernetes makes random names.
const RANDOM_NAME_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The name of the service that a slice belongs to.
pub fn service_of_slice(slice: &Resource) -> Option<&str> {
    slice
        .meta
        .labels
        .get(SERVICE_NAME_LABEL)
        .map(String::as_str)
}

/// Labels of those endpoints of a slice that have none of their own.
pub fn labels_of_slice(slice: &Resource) -> BTreeMap<String, String> {
    let is_own = |key: &str| {
        let domain = key.split('/').next();
        !domain.is_some_and(|it| it.ends_with("kubernetes.io"))
    };
    let labels = slice.meta.labels.iter();
    labels
        .filter(|(key, _)| is_own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The service of a Kubernetes `Service`, with the endpoints of its slices and of the
/// `WorkloadEntry` resources that its selector selects.
pub(super) fn service(
    resource: &Arc<Resource>,
    written: &kubernetes::Service,
    slices: &[Arc<Resource>],
    workloads: &[Arc<Resource>],
    domain: &str,
) -> Service {
    let spec = &written.spec;
    let external = spec.external_name.as_deref().filter(|_| is_external(spec));
    let mut sources = vec![Arc::clone(resource)];
    let endpoints = match external {
        Some(name) => external_endpoint(name, spec).into_iter().collect(),
        None => {
            let mut endpoints = sliced(spec, slices, &mut sources);
            endpoints.extend(selected(spec, workloads, &mut sources));
            endpoints
        }
    };
    let meta = &resource.meta;
    Service {
        host: format!("{}.{}.svc.{domain}", meta.name, meta.namespace),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        ports: spec.ports.iter().filter_map(port).collect(),
        resolution: if external.is_some() {
            Resolution::Dns
        } else {
            Resolution::Static
        },
        endpoints,
        location: if external.is_some() {
            Location::Outside
        } else {
            Location::Inside
        },
        addresses: addresses(spec),
        headless: spec.cluster_ip.as_deref() == Some("None"),
        subject_alt_names: Vec::new(),
        export_to: export_to(&meta.annotations),
        sources,
    }
}

fn is_external(spec: &ServiceSpec) -> bool {
    spec.kind.as_deref() == Some("ExternalName")
}

fn export_to(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let text = annotations
        .get(EXPORT_TO_ANNOTATION)
        .map_or("", String::as_str);
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn addresses(spec: &ServiceSpec) -> Vec<String> {
    let mut addresses = spec.cluster_ips.clone();
    if addresses.is_empty() {
        addresses.extend(spec.cluster_ip.clone());
    }
    addresses.retain(|address| !address.is_empty() && address != "None");
    addresses
}

/// The port, unless its transport is not TCP.
fn port(written: &KubePort) -> Option<Port> {
    is_tcp(written.protocol.as_deref()).then_some(())?;
    Some(Port {
        number: u16::try_from(written.port).ok()?,
        name: written.name.clone().unwrap_or_default(),
        protocol: protocol(written),
    })
}

fn is_tcp(transport: Option<&str>) -> bool {
    transport.is_none_or(|transport| transport.eq_ignore_ascii_case("TCP"))
}

/// `appProtocol`, else the prefix of the name, else what is usual on the port, else unknown.
fn protocol(written: &KubePort) -> Protocol {
    let declared = match written.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => Some(Protocol::Http2),
        Some("kubernetes.io/ws") => Some(Protocol::Http),
        Some("kubernetes.io/wss") => Some(Protocol::Https),
        Some(name) => named_protocol(name),
        None => written.name.as_deref().and_then(named_protocol),
    };
    declared.unwrap_or(if SERVER_FIRST_PORTS.contains(&written.port) {
        Protocol::Tcp
    } else {
        Protocol::Auto
    })
}

/// The protocol that a name is or begins with, up to a `-`.
fn named_protocol(name: &str) -> Option<Protocol> {
    let is_grpc_web = name
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"))
        && name[8..].chars().next().is_none_or(|next| next == '-');
    if is_grpc_web {
        return Some(Protocol::GrpcWeb);
    }
    Protocol::parse(name.split_once('-').map_or(name, |(prefix, _)| prefix))
}

/// Target port where the service alone tells it: its number, else that of the service port.
pub(super) fn numeric_target(port: &KubePort) -> Option<u16> {
    let target = match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 => *number,
        Some(IntOrString::Int(_) | IntOrString::String(_)) | None => port.port,
    };
    u16::try_from(target).ok()
}

fn external_endpoint(name: &str, spec: &ServiceSpec) -> Option<Endpoint> {
    let ports = spec.ports.iter().filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        Some((number, numeric_target(port)?))
    });
    Some(Endpoint {
        address: Address::parse(name)?,
        ports: ports.collect(),
        labels: Arc::default(),
        weight: 1,
        locality: None,
        network: None,
        service_account: None,
        workload: None,
        ready: true,
    })
}

fn sliced(
    spec: &ServiceSpec,
    slices: &[Arc<Resource>],
    sources: &mut Vec<Arc<Resource>>,
) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for resource in slices {
        if let Spec::EndpointSlice(slice) = &resource.spec {
            sources.push(Arc::clone(resource));
            endpoints.extend(slice_endpoints(resource, slice, spec));
        }
    }
    endpoints
}

fn slice_endpoints(
    resource: &Resource,
    slice: &EndpointSlice,
    spec: &ServiceSpec,
) -> impl Iterator<Item = Endpoint> {
    let ports = slice_ports(slice, spec);
    let labels = Arc::new(labels_of_slice(resource));
    slice.endpoints.iter().filter_map(move |written| {
        // Kubernetes gives no meaning to further addresses of one endpoint.
        let address = Address::parse(written.addresses.first()?)?;
        let pod = written
            .target_ref
            .as_ref()
            .and_then(|target| target.name.as_deref());
        Some(Endpoint {
            address,
            ports: ports.clone(),
            labels: written
                .labels
                .as_ref()
                .map_or_else(|| Arc::clone(&labels), |own| Arc::new(own.clone())),
            weight: 1,
            locality: locality(written),
            network: None,
            service_account: written.service_account.clone(),
            workload: pod.map(|pod| workload_of_pod(pod).to_owned()),
            ready: written.conditions.ready.unwrap_or(true),
        })
    })
}

/// Ports of a slice by the name they share with the service's.
fn slice_ports(slice: &EndpointSlice, spec: &ServiceSpec) -> PortMap {
    let named = |name: Option<&str>| {
        let name = name.unwrap_or_default();
        let same = slice
            .ports
            .iter()
            .find(|port| port.name.as_deref().unwrap_or_default() == name);
        same.and_then(|port| port.port)
            .and_then(|port| u16::try_from(port).ok())
    };
    spec.ports
        .iter()
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .filter_map(|port| Some((u16::try_from(port.port).ok()?, named(port.name.as_deref())?)))
        .collect()
}

/// `region/zone/subzone` of an endpoint as far as it is known: as its own labels say, else by its zone;
/// region and subzone are from the deprecated labels alone.
fn locality(written: &kubernetes::SliceEndpoint) -> Option<String> {
    if let Some(said) = written.labels.as_ref().and_then(locality_of) {
        return Some(said);
    }
    let topology = |key: &str| written.deprecated_topology.get(key);
    let zone = written
        .zone
        .as_ref()
        .or_else(|| topology("topology.kubernetes.io/zone"));
    match (topology("topology.kubernetes.io/region"), zone) {
        (None, None) => None,
        (Some(region), None) => Some(region.clone()),
        (region, Some(zone)) => {
            let region = region.map_or("", String::as_str);
            Some(match topology("topology.istio.io/subzone") {
                Some(subzone) => format!("{region}/{zone}/{subzone}"),
                None => format!("{region}/{zone}"),
            })
        }
    }
}

fn selected(
    spec: &ServiceSpec,
    workloads: &[Arc<Resource>],
    sources: &mut Vec<Arc<Resource>>,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    // A service without selector selects nothing, not everything.
    if spec.selector.is_empty() {
        return endpoints;
    }
    for workload in workloads {
        if let Spec::WorkloadEntry(written) = &workload.spec
            && is_selected(&spec.selector, &workload.meta, written)
        {
            let ports = spec.ports.iter().filter_map(|port| {
                Some((
                    u16::try_from(port.port).ok()?,
                    workload_port(port, written)?,
                ))
            });
            endpoints.extend(workload_endpoint(&workload.meta, written, ports.collect()));
            sources.push(Arc::clone(workload));
        }
    }
    endpoints
}

/// Target port at a workload: its own by the port's name, or by the name of the target port.
fn workload_port(port: &KubePort, written: &WorkloadEntry) -> Option<u16> {
    let by_name = |name: &str| {
        written
            .ports
            .get(name)
            .and_then(|&own| u16::try_from(own).ok())
    };
    let own = port.name.as_deref().and_then(by_name);
    own.or_else(|| match &port.target_port {
        Some(IntOrString::String(name)) => by_name(name),
        Some(IntOrString::Int(_)) | None => None,
    })
    .or_else(|| numeric_target(port))
}

/// Name of what made a pod: the pod's name without what Kubernetes appended.
fn workload_of_pod(pod: &str) -> &str {
    let is_random = |text: &str| text.chars().all(|c| RANDOM_NAME_ALPHABET.contains(c));
    let Some((owner, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && last.len() < 5 {
        return owner;
    }
    if last.len() != 5 || !is_random(last) {
        return pod;
    }
    match owner.rsplit_once('-') {
        // A hash of 32 bits in this alphabet; shorter ones are too rare to risk a real name.
        Some((deployment, hash)) if (6..=10).contains(&hash.len()) && is_random(hash) => deployment,
        Some(_) | None => owner,
    }
}

#[cfg(test)]
mod tests;
