//! Connections that are not HTTP: rules that none of them meets, and services that nothing tells apart.

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Context, Report};
use crate::ip_block::IpBlock;
use crate::mesh::{MESH_GATEWAY, Protocol, Service, resolve_gateway};
use crate::resource::virtual_service::{TlsMatch, VirtualService};
use crate::resource::{Resource, Spec};

/// Addresses of services that are compared; those of further ones are not.
const ADDRESSES_MAX: usize = 100_000;

/// Which list of a `VirtualService` a port goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Http,
    Tls,
    Tcp,
}

/// Warns of rules of `tls` and `tcp` that no connection meets.
pub(super) fn check_rules(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    spec: &VirtualService,
    report: &mut Report,
) {
    check_names(resource, spec, report);
    let namespace = &resource.meta.namespace;
    let is_for_mesh = spec.gateways.is_empty()
        || spec
            .gateways
            .iter()
            .any(|it| resolve_gateway(it, namespace) == MESH_GATEWAY);
    // A gateway has ports of its own.
    if !is_for_mesh || spec.gateways.len() > 1 {
        return;
    }
    let services: Vec<&Arc<Service>> = spec
        .hosts
        .iter()
        .filter_map(|host| {
            let host = context.mesh.resolve(host, namespace);
            context.mesh.services().find(|it| it.host == host)
        })
        .collect();
    if services.is_empty() || services.len() < spec.hosts.len() {
        return;
    }
    for (at, rule) in spec.tls.iter().enumerate() {
        let ports = rule.matches.iter().map(|block| block.port);
        check_ports(resource, &services, (List::Tls, at), ports, report);
    }
    for (at, rule) in spec.tcp.iter().enumerate() {
        let ports = rule.matches.iter().map(|block| block.port);
        match rule.matches.is_empty() {
            true => check_ports(resource, &services, (List::Tcp, at), [None], report),
            false => check_ports(resource, &services, (List::Tcp, at), ports, report),
        }
    }
}

/// Warns of blocks for ports at which another list decides.
fn check_ports(
    resource: &Arc<Resource>,
    services: &[&Arc<Service>],
    (list, at): (List, usize),
    ports: impl IntoIterator<Item = Option<u32>>,
    report: &mut Report,
) {
    let own = services.iter().flat_map(|it| &it.ports);
    let own: Vec<(u32, List)> = own
        .flat_map(|port| lists(port.protocol).map(|list| (u32::from(port.number), list)))
        .collect();
    for (block, wanted) in ports.into_iter().enumerate() {
        let wanted = wanted.filter(|port| *port != 0);
        let mut meant = own
            .iter()
            .filter(|(port, _)| wanted.is_none_or(|it| it == *port))
            .peekable();
        let exists = meant.peek().is_some();
        if !exists || meant.any(|(_, decides)| *decides == list) {
            continue;
        }
        let (name, others) = match list {
            List::Tls => ("tls", "HTTPS or TLS"),
            List::Tcp | List::Http => ("tcp", "TCP"),
        };
        let port = match wanted {
            Some(port) => format!("port {port} of its hosts does not speak"),
            None => "no port of its hosts speaks".to_owned(),
        };
        let message = format!("never reached in the mesh: {port} {others}");
        report.warn(
            resource,
            format!("spec.{name}[{at}].match[{block}]"),
            message,
        );
    }
}

/// The lists that a port may go by.
fn lists(protocol: Protocol) -> impl Iterator<Item = List> {
    let lists: &[List] = match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => &[List::Http],
        Protocol::Https | Protocol::Tls => &[List::Tls],
        Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql => &[List::Tcp],
        Protocol::Auto => &[List::Http, List::Tcp],
    };
    lists.iter().copied()
}

/// Names in TLS that an earlier block asks for under the same conditions.
fn check_names(resource: &Arc<Resource>, spec: &VirtualService, report: &mut Report) {
    let mut asked: FxHashMap<&str, Vec<(usize, &TlsMatch)>> = FxHashMap::default();
    for (at, rule) in spec.tls.iter().enumerate() {
        for (number, block) in rule.matches.iter().enumerate() {
            for (place, name) in block.sni_hosts.iter().enumerate() {
                let others = asked.entry(name).or_default();
                let earlier = others.iter().find(|(_, other)| is_alike(other, block));
                if let Some((earlier, _)) = earlier {
                    let path = format!("spec.tls[{at}].match[{number}].sniHosts[{place}]");
                    let message = format!("never reached: spec.tls[{earlier}] has this name");
                    report.warn(resource, path, message);
                }
                others.push((at, block));
            }
        }
    }
}

/// Whether two blocks differ in nothing but their names.
fn is_alike(a: &TlsMatch, b: &TlsMatch) -> bool {
    a.port == b.port
        && a.destination_subnets == b.destination_subnets
        && a.source_labels == b.source_labels
        && a.source_namespace == b.source_namespace
        && a.gateways == b.gateways
}

/// Warns of services whose connections nothing tells from those of another, once they are captured:
/// that has the same address and port, or the same port where neither has an address.
pub(super) fn check_services(context: &Context<'_>, report: &mut Report) {
    let mut addresses: FxHashMap<SocketAddr, &Arc<Service>> = FxHashMap::default();
    let mut ports: FxHashMap<u16, &Arc<Service>> = FxHashMap::default();
    for service in context.mesh.services() {
        // Whether the workload is given those that were allotted is up to its proxy.
        let written = service.addresses.iter();
        let own: Vec<IpBlock> = written.filter_map(|it| it.parse().ok()).collect();
        for (at, port) in service.ports.iter().enumerate() {
            let decides = lists(port.protocol).last();
            if decides == Some(List::Http) {
                continue;
            }
            let mut others = Vec::new();
            for ip in own.iter().filter_map(IpBlock::alone) {
                if addresses.len() < ADDRESSES_MAX {
                    let other = addresses.entry(SocketAddr::new(ip, port.number));
                    others.push((*other.or_insert(service), format!("{ip}:{}", port.number)));
                }
            }
            let is_named = decides == Some(List::Tls) || port.protocol == Protocol::Auto;
            if own.is_empty() && !service.headless && !is_named {
                let other = *ports.entry(port.number).or_insert(service);
                others.push((other, format!("port {}", port.number)));
            }
            let other = others.iter().find(|(it, _)| !Arc::ptr_eq(it, service));
            if let (Some((other, place)), Some((resource, path))) = (other, place(service, at)) {
                let message = format!(
                    "captured connections to {place} go to {}, which goes first; addresses of its \
                     own would tell them apart",
                    other.host
                );
                report.warn(resource, path, message);
            }
        }
    }
}

/// The resource that defines a service, and where it writes its port.
fn place(service: &Service, at: usize) -> Option<(&Arc<Resource>, String)> {
    let resource = service.sources.first()?;
    let count = match &resource.spec {
        Spec::ServiceEntry(entry) => entry.ports.len(),
        Spec::Service(service) => service.spec.ports.len(),
        _ => 0,
    };
    (at < count).then(|| (resource, format!("spec.ports[{at}]")))
}
