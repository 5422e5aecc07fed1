//! Destinations that lead nowhere: host, subset, port.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Context, Report};
use crate::mesh::{HostPolicy, Service, Viewer};
use crate::resource::Resource;
use crate::resource::virtual_service::{Destination, VirtualService};

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    spec: &VirtualService,
    report: &mut Report,
) {
    let mut check = |path: String, destination: Option<&Destination>| {
        if let Some(destination) = destination {
            check_one(context, resource, (path, destination), report);
        }
    };
    for (at, rule) in spec.http.iter().enumerate() {
        for (n, route) in rule.route.iter().enumerate() {
            check(
                format!("spec.http[{at}].route[{n}].destination"),
                route.destination.as_ref(),
            );
        }
        check(format!("spec.http[{at}].mirror"), rule.mirror.as_ref());
        for (n, mirror) in rule.mirrors.iter().enumerate() {
            check(
                format!("spec.http[{at}].mirrors[{n}].destination"),
                mirror.destination.as_ref(),
            );
        }
    }
    let tls = spec.tls.iter().map(|rule| &rule.route).enumerate();
    let tcp = spec.tcp.iter().map(|rule| &rule.route).enumerate();
    for (kind, at, routes) in tls
        .map(|(at, routes)| ("tls", at, routes))
        .chain(tcp.map(|(at, r)| ("tcp", at, r)))
    {
        for (n, route) in routes.iter().enumerate() {
            check(
                format!("spec.{kind}[{at}].route[{n}].destination"),
                route.destination.as_ref(),
            );
        }
    }
}

fn check_one(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    (path, destination): (String, &Destination),
    report: &mut Report,
) {
    let namespace = resource.meta.namespace.as_str();
    let viewer = Viewer {
        namespace: namespace.to_owned(),
        ..Viewer::default()
    };
    let host = context.mesh.resolve(&destination.host, namespace);
    if host.is_empty() {
        return;
    }
    let Some(service) = context.mesh.gateway_service(&viewer, &host) else {
        report.warn(
            resource,
            format!("{path}.host"),
            unknown_host(context, &viewer, &host),
        );
        return;
    };
    if let Some(message) = port_problem(service, destination) {
        report.warn(resource, format!("{path}.port"), message);
    }
    let named = destination
        .subset
        .as_deref()
        .filter(|subset| !subset.is_empty());
    if let Some(subset) = named {
        let policy = context.mesh.any_policy(namespace, service);
        if policy.subset(subset).is_none() {
            report.warn(
                resource,
                format!("{path}.subset"),
                unknown_subset(&policy, subset, &host),
            );
        }
    }
}

/// Why no service answers for a host, and which was perhaps meant.
pub(super) fn unknown_host(context: &Context<'_>, viewer: &Viewer, host: &str) -> String {
    let namespace = &viewer.namespace;
    if context.mesh.has_service(host) {
        return format!("service {host:?} is not exported to namespace {namespace:?}");
    }
    let completed = format!("{host}.svc.{}", context.mesh.settings().domain);
    let meant = if context.mesh.gateway_service(viewer, &completed).is_some() {
        format!(" (did you mean {completed:?}?)")
    } else {
        let visible = context
            .mesh
            .services()
            .filter(|service| service.visible_to(viewer));
        context.suggestion(host, visible.map(|service| service.host.as_str()))
    };
    format!("no service {host:?} is known in namespace {namespace:?}{meant}")
}

fn unknown_subset(policy: &HostPolicy, subset: &str, host: &str) -> String {
    let names: Vec<&str> = policy
        .subsets
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    let mut message = format!("no DestinationRule defines subset {subset:?} of {host:?}");
    if !names.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(message, "; its subsets are {}", names.join(", "));
    }
    message
}

fn port_problem(service: &Service, destination: &Destination) -> Option<String> {
    let list = || {
        let numbers = service.ports.iter().map(|port| port.number.to_string());
        numbers.collect::<Vec<_>>().join(", ")
    };
    match &destination.port {
        None if service.ports.len() > 1 => Some(format!(
            "should be set: service {:?} has several ports ({}), and the one a request came to is used",
            service.host,
            list()
        )),
        None => None,
        Some(selector) => {
            let known = service
                .ports
                .iter()
                .any(|port| u32::from(port.number) == selector.number);
            (!known && !service.ports.is_empty()).then(|| {
                format!(
                    "service {:?} has no port {}; its ports are {}",
                    service.host,
                    selector.number,
                    list()
                )
            })
        }
    }
}
