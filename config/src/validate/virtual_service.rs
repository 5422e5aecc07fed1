//! `VirtualService`: hosts, gateways, and that every rule has exactly one action.

use crate::claims;
use crate::resource::Metadata;
use crate::resource::virtual_service::{
    HttpMatch, RouteDestination, TcpRoute, TlsMatch, TlsRoute, VirtualService,
};
use crate::validate::field::{self, Export};
use crate::validate::findings::Findings;
use crate::validate::host;

mod action;
mod http;
mod matching;
mod retry;
mod unreachable;

pub(crate) use action::check_target;

/// The name of the gateway that stands for all sidecars.
const MESH: &str = "mesh";

/// Checks a `VirtualService`.
pub(crate) fn check(service: &VirtualService, meta: &Metadata, f: &mut Findings) {
    let is_delegate = service.hosts.is_empty();
    if is_delegate {
        check_delegate(service, f);
    }
    check_gateway_names(&service.gateways, f);
    check_hosts(service, f);
    if service.http.is_empty() && service.tls.is_empty() && service.tcp.is_empty() {
        f.error("must have at least one rule in http, tls or tcp");
    }
    // Destinations of routes that the control plane made itself carry names of its own.
    let generated = meta
        .annotations
        .get("internal.istio.io/route-semantics")
        .is_some_and(|semantics| semantics == "gateway");
    let context = Context {
        is_delegate,
        at_gateway_only: !service.gateways.is_empty() && !is_for_mesh(service),
        generated,
    };
    f.each("http", &service.http, |f, route| {
        http::check(route, context, f)
    });
    f.each("tls", &service.tls, |f, route| check_tls(route, service, f));
    f.each("tcp", &service.tcp, check_tcp);
    field::export_to(&service.export_to, meta, Export::Usual, f);
    unreachable::check(service, f);
}

/// Checks a block of conditions outside of a `VirtualService`, where there are no claims to match.
pub(crate) fn check_match(block: &HttpMatch, f: &mut Findings) {
    let nowhere = Context {
        is_delegate: false,
        at_gateway_only: false,
        generated: false,
    };
    matching::check(block, nowhere, f);
}

/// What a rule has to know of the resource around it.
#[derive(Clone, Copy)]
struct Context {
    /// The resource is a delegate: it has no hosts.
    is_delegate: bool,
    /// The resource is bound to gateways and not to sidecars.
    at_gateway_only: bool,
    /// The resource was made by the control plane.
    generated: bool,
}

fn is_for_mesh(service: &VirtualService) -> bool {
    service.gateways.is_empty() || service.gateways.iter().any(|gateway| gateway == MESH)
}

fn check_delegate(service: &VirtualService, f: &mut Findings) {
    for (name, is_set) in [
        ("gateways", !service.gateways.is_empty()),
        ("tls", !service.tls.is_empty()),
        ("tcp", !service.tcp.is_empty()),
    ] {
        if is_set {
            f.error_in(name, "must not be set without hosts (in a delegate)");
        }
    }
}

fn check_hosts(service: &VirtualService, f: &mut Findings) {
    let for_mesh = is_for_mesh(service);
    let has_server_names = service
        .tls
        .iter()
        .flat_map(|route| &route.matches)
        .any(|m| !m.sni_hosts.is_empty());
    let mut all_valid = true;
    f.each("hosts", &service.hosts, |f, name| {
        let result = if !for_mesh && has_server_names {
            host::check_server_name(name)
        } else {
            host::check_pattern(name)
        };
        if name == "*" && for_mesh {
            f.error("must not be \"*\" in a VirtualService of the mesh; name a gateway or a host");
            all_valid = false;
        } else if !host::is_address(name) {
            all_valid &= f.require(result);
        }
    });
    if all_valid {
        check_overlap(&service.hosts, f);
    }
}

fn check_overlap(hosts: &[String], f: &mut Findings) {
    for (index, name) in hosts.iter().enumerate() {
        if let Some(earlier) = hosts[..index]
            .iter()
            .find(|earlier| host::overlap(earlier, name))
        {
            f.item("hosts", index, |f| {
                f.error(format!(
                    "must not overlap with \"{earlier}\", got \"{name}\""
                ));
            });
        }
    }
}

/// Checks references to gateways: `mesh`, `name`, `namespace/name`, or the old dotted form.
fn check_gateway_names(names: &[String], f: &mut Findings) {
    f.each("gateways", names, |f, name| match name.split_once('/') {
        Some((namespace, gateway)) => {
            if !host::is_label(namespace) || !host::is_label(gateway) {
                f.error(format!(
                    "must be \"namespace/name\", \"name\" or \"mesh\", got \"{name}\""
                ));
            }
        }
        None => {
            let valid = f.require(host::check_name(name));
            let mut labels = name.split('.');
            if let (true, Some(gateway), Some(namespace)) = (valid, labels.next(), labels.next()) {
                f.warn(format!(
                    "should be written \"{namespace}/{gateway}\", got \"{name}\""
                ));
            }
        }
    });
}

fn check_tls(route: &TlsRoute, service: &VirtualService, f: &mut Findings) {
    if route.matches.is_empty() {
        f.error_in("match", "must have at least one match with sniHosts");
    }
    f.each("match", &route.matches, |f, block| {
        check_server_names(block, service, f);
        f.each(
            "destinationSubnets",
            &block.destination_subnets,
            |f, subnet| {
                f.require(host::check_subnet(subnet));
            },
        );
        check_l4_source(block.port, &block.gateways, f);
        field::labels("sourceLabels", &block.source_labels, f);
    });
    check_destinations(&route.route, f);
}

fn check_server_names(block: &TlsMatch, service: &VirtualService, f: &mut Findings) {
    if block.sni_hosts.is_empty() {
        f.error_in("sniHosts", "must have at least one server name");
    }
    let in_gateway = !service.gateways.iter().any(|gateway| gateway == MESH);
    f.each("sniHosts", &block.sni_hosts, |f, name| {
        let result = if in_gateway {
            host::check_server_name(name)
        } else {
            host::check_pattern(name)
        };
        if result.is_err() && host::is_address(name) {
            f.warn(format!(
                "should be a name: clients do not send an address, got \"{name}\""
            ));
        } else if f.require(result) && !service.hosts.iter().any(|outer| host::covers(outer, name))
        {
            f.error(format!("must lie within spec.hosts, got \"{name}\""));
        }
    });
}

fn check_tcp(f: &mut Findings, route: &TcpRoute) {
    f.each("match", &route.matches, |f, block| {
        f.each(
            "destinationSubnets",
            &block.destination_subnets,
            |f, subnet| {
                f.require(host::check_subnet(subnet));
            },
        );
        if let Some(subnet) = field::written(block.source_subnet.as_ref()) {
            f.require_in("sourceSubnet", host::check_subnet(subnet));
        }
        check_l4_source(block.port, &block.gateways, f);
        field::labels("sourceLabels", &block.source_labels, f);
    });
    check_destinations(&route.route, f);
}

fn check_l4_source(port: Option<u32>, gateways: &[String], f: &mut Findings) {
    if let Some(port) = port.filter(|port| *port != 0) {
        f.require_in("port", field::port(port));
    }
    check_gateway_names(gateways, f);
}

fn check_destinations(destinations: &[RouteDestination], f: &mut Findings) {
    if destinations.is_empty() {
        f.error_in("route", "must have at least one destination");
    }
    f.each("route", destinations, |f, weighted| {
        action::check_destination(weighted.destination.as_ref(), f);
        field::not_negative("weight", Some(weighted.weight), f);
    });
    action::check_weights(destinations.iter().map(|weighted| weighted.weight), f);
}

/// Names in match blocks that address JWT claims work at gateways only.
fn check_claim(name: &str, context: Context, f: &mut Findings) {
    if claims::path(name).is_some() && !context.at_gateway_only {
        f.error("must not match claims in a VirtualService that is not bound to gateways only");
    }
}

#[cfg(test)]
mod tests;
