//! Resources that want the same: hosts, services, ports.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Context, Report, key};
use crate::mesh::{MESH_GATEWAY, exports_overlap, in_precedence, resolve_gateway};
use crate::resource::gateway::{Gateway, Server};
use crate::resource::virtual_service::VirtualService;
use crate::resource::{Resource, Spec};

/// Which protocols can share a port: those of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Encrypted,
    Opaque,
}

/// Who defines a service, and for whom.
struct Definition<'a> {
    resource: &'a Arc<Resource>,
    export_to: &'a [String],
}

/// Who opens a port.
struct Opened<'a> {
    resource: &'a Arc<Resource>,
    gateway: &'a Gateway,
    server: &'a Server,
}

pub(super) fn check(context: &Context<'_>, resources: &[Arc<Resource>], report: &mut Report) {
    let ordered = in_precedence(resources);
    check_hosts(context, &ordered, report);
    check_services(context, &ordered, report);
    check_ports(&ordered, report);
}

/// Hosts of sidecars that two `VirtualService` resources claim.
fn check_hosts(context: &Context<'_>, ordered: &[Arc<Resource>], report: &mut Report) {
    let mut claimed: FxHashMap<String, Vec<(&Arc<Resource>, &VirtualService)>> =
        FxHashMap::default();
    for resource in ordered {
        let Spec::VirtualService(spec) = &resource.spec else {
            continue;
        };
        let namespace = &resource.meta.namespace;
        let for_mesh = spec.gateways.is_empty()
            || spec
                .gateways
                .iter()
                .any(|g| resolve_gateway(g, namespace) == MESH_GATEWAY);
        if !for_mesh {
            continue;
        }
        for (at, host) in spec.hosts.iter().enumerate() {
            let claims = claimed
                .entry(context.mesh.resolve(host, namespace))
                .or_default();
            let winner = claims.iter().find(|(older, older_spec)| {
                !Arc::ptr_eq(older, resource)
                    && exports_overlap(
                        (&older_spec.export_to, &older.meta.namespace),
                        (&spec.export_to, namespace),
                    )
            });
            if let Some((winner, _)) = winner {
                let message = format!("ignored in the mesh: {winner} has this host and goes first");
                report.warn(resource, format!("spec.hosts[{at}]"), message);
            }
            claims.push((resource, spec));
        }
    }
}

/// Hosts of `ServiceEntry` resources that something else defines too.
fn check_services(context: &Context<'_>, ordered: &[Arc<Resource>], report: &mut Report) {
    let mut defined: FxHashMap<String, Vec<Definition<'_>>> = FxHashMap::default();
    for resource in ordered
        .iter()
        .filter(|resource| matches!(resource.spec, Spec::Service(_)))
    {
        let host = context
            .mesh
            .resolve(&resource.meta.name, &resource.meta.namespace);
        defined.entry(host).or_default().push(Definition {
            resource,
            export_to: &[],
        });
    }
    for resource in ordered {
        let Spec::ServiceEntry(entry) = &resource.spec else {
            continue;
        };
        let namespace = &resource.meta.namespace;
        for (at, host) in entry.hosts.iter().enumerate() {
            let others = defined.entry(host.clone()).or_default();
            // In one namespace entries are merged, and those for Kubernetes services decorate.
            let winner = others.iter().find(|other| {
                let owner = &other.resource.meta.namespace;
                owner != namespace
                    && exports_overlap((other.export_to, owner), (&entry.export_to, namespace))
            });
            if let Some(Definition {
                resource: winner, ..
            }) = winner
            {
                let message =
                    format!("ignored where both are seen: {winner} defines this host too");
                report.warn(resource, format!("spec.hosts[{at}]"), message);
            }
            others.push(Definition {
                resource,
                export_to: &entry.export_to,
            });
        }
    }
}

/// Ports of gateways that one proxy may have to open with two protocols.
fn check_ports(ordered: &[Arc<Resource>], report: &mut Report) {
    let mut opened: FxHashMap<u32, Vec<Opened<'_>>> = FxHashMap::default();
    for resource in ordered {
        let Spec::Gateway(gateway) = &resource.spec else {
            continue;
        };
        for (at, server) in gateway.servers.iter().enumerate() {
            let Some(port) = &server.port else {
                continue;
            };
            let others = opened.entry(port.number).or_default();
            let conflicting = others.iter().find(|other| {
                other.server.bind == server.bind
                    && class(protocol(other.server)) != class(&port.protocol)
                    && may_meet(other.gateway, gateway)
            });
            if let Some(other) = conflicting {
                let message = format!(
                    "{} conflicts with {} on port {} of Gateway {:?}, which goes first",
                    port.protocol,
                    protocol(other.server),
                    port.number,
                    key(other.resource)
                );
                report.warn(resource, format!("spec.servers[{at}].port"), message);
            }
            others.push(Opened {
                resource,
                gateway,
                server,
            });
        }
    }
}

fn protocol(server: &Server) -> &str {
    server.port.as_ref().map_or("", |port| &port.protocol)
}

fn class(protocol: &str) -> Class {
    match protocol.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => Class::Plain,
        "HTTPS" | "TLS" => Class::Encrypted,
        _ => Class::Opaque,
    }
}

/// Whether one selector selects what the other does.
fn may_meet(a: &Gateway, b: &Gateway) -> bool {
    let within = |a: &Gateway, b: &Gateway| {
        a.selector
            .iter()
            .all(|(label, value)| b.selector.get(label) == Some(value))
    };
    within(a, b) || within(b, a)
}
