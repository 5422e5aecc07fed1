//! What a `VirtualService` is bound to: gateways with their hosts, and delegates.

use std::sync::Arc;

use super::{Context, Report};
use crate::mesh::{Delegation, MESH_GATEWAY, intersect, merge_rule, resolve_gateway};
use crate::resource::gateway::Gateway;
use crate::resource::virtual_service::{Delegate, HttpRoute, VirtualService};
use crate::resource::{Metadata, Resource, Spec};

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    spec: &VirtualService,
    report: &mut Report,
) {
    check_gateways(context, resource, spec, report);
    check_hosts(context, resource, spec, report);
    check_match_gateways(resource, spec, report);
    for (at, rule) in spec.http.iter().enumerate() {
        if let Some(delegate) = &rule.delegate {
            check_delegate(context, resource, (at, rule, delegate), report);
        }
    }
}

fn check_gateways(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    spec: &VirtualService,
    report: &mut Report,
) {
    let meta = &resource.meta;
    for (at, reference) in spec.gateways.iter().enumerate() {
        let name = resolve_gateway(reference, &meta.namespace);
        if name == MESH_GATEWAY {
            continue;
        }
        let path = format!("spec.gateways[{at}]");
        let Some(gateway) = gateway_spec(context, &name) else {
            let meant = context.suggestion(&name, context.gateways.keys().map(String::as_str));
            report.warn(
                resource,
                path,
                format!("no Gateway {name:?} is known{meant}"),
            );
            continue;
        };
        let hosts = completed_hosts(context, meta, spec);
        if !hosts
            .iter()
            .any(|host| is_served(gateway, &name, meta, host))
        {
            let message = format!("no host of this VirtualService is a host of Gateway {name:?}");
            report.warn(resource, path, message);
        }
    }
}

/// Hosts that none of the gateways serves; with `mesh` each may be for the sidecars.
fn check_hosts(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    spec: &VirtualService,
    report: &mut Report,
) {
    let meta = &resource.meta;
    let names: Vec<String> = spec
        .gateways
        .iter()
        .map(|gateway| resolve_gateway(gateway, &meta.namespace))
        .collect();
    let gateways: Vec<_> = names
        .iter()
        .filter_map(|name| Some((name, gateway_spec(context, name)?)))
        .collect();
    // With `mesh`, an unknown gateway or a single host nothing can be said beyond the above.
    if names.is_empty() || gateways.len() < names.len() || spec.hosts.len() < 2 {
        return;
    }
    let hosts = completed_hosts(context, meta, spec);
    let served = |host: &str| {
        gateways
            .iter()
            .any(|(name, gateway)| is_served(gateway, name, meta, host))
    };
    if !hosts.iter().any(|host| served(host)) {
        return;
    }
    for (at, host) in hosts.iter().enumerate() {
        if !served(host) {
            let message = format!("no Gateway of this VirtualService has host {host:?}");
            report.warn(resource, format!("spec.hosts[{at}]"), message);
        }
    }
}

/// Gateways of match blocks that the `VirtualService` is not bound to.
fn check_match_gateways(resource: &Arc<Resource>, spec: &VirtualService, report: &mut Report) {
    // The gateways of a delegate are those of its roots.
    if spec.hosts.is_empty() {
        return;
    }
    let resolve = |reference: &String| resolve_gateway(reference, &resource.meta.namespace);
    let mut bound: Vec<String> = spec.gateways.iter().map(resolve).collect();
    if bound.is_empty() {
        bound.push(MESH_GATEWAY.to_owned());
    }
    let http = spec.http.iter().enumerate().flat_map(|(at, rule)| {
        let blocks = rule.matches.iter().map(|block| &block.gateways).enumerate();
        blocks.map(move |(n, gateways)| ("http", at, n, gateways))
    });
    let tls = spec.tls.iter().enumerate().flat_map(|(at, rule)| {
        let blocks = rule.matches.iter().map(|block| &block.gateways).enumerate();
        blocks.map(move |(n, gateways)| ("tls", at, n, gateways))
    });
    let tcp = spec.tcp.iter().enumerate().flat_map(|(at, rule)| {
        let blocks = rule.matches.iter().map(|block| &block.gateways).enumerate();
        blocks.map(move |(n, gateways)| ("tcp", at, n, gateways))
    });
    for (kind, at, n, gateways) in http.chain(tls).chain(tcp) {
        for (place, gateway) in gateways.iter().enumerate() {
            let name = resolve(gateway);
            if !bound.contains(&name) {
                let path = format!("spec.{kind}[{at}].match[{n}].gateways[{place}]");
                let message = format!("has no effect: {name:?} is not in spec.gateways");
                report.warn(resource, path, message);
            }
        }
    }
}

fn check_delegate(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    (at, rule, delegate): (usize, &HttpRoute, &Delegate),
    report: &mut Report,
) {
    let why = match context.mesh.delegation(&resource.meta, delegate) {
        Delegation::Found(found) => {
            check_delegated(resource, (at, rule), &found, report);
            return;
        }
        Delegation::Missing => "does not exist",
        Delegation::NotADelegate => "has hosts, so that it cannot be a delegate",
        Delegation::Invisible => "is not exported to this namespace",
    };
    let namespace = delegate
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or(&resource.meta.namespace);
    let message = format!(
        "the rule is dropped: VirtualService \"{namespace}/{}\" {why}",
        delegate.name
    );
    report.warn(resource, format!("spec.http[{at}].delegate"), message);
}

/// Rules of a delegate that are dropped because they contradict their root.
fn check_delegated(
    root: &Arc<Resource>,
    (at, rule): (usize, &HttpRoute),
    delegate: &Arc<Resource>,
    report: &mut Report,
) {
    let Spec::VirtualService(spec) = &delegate.spec else {
        return;
    };
    for (n, own) in spec.http.iter().enumerate() {
        if own.delegate.is_some() {
            let message = "the rule is dropped: delegates do not nest".to_owned();
            report.warn(delegate, format!("spec.http[{n}].delegate"), message);
        } else if merge_rule(rule, own).is_none() {
            let message = format!(
                "the rule is dropped under {root}: it is not within spec.http[{at}].match there"
            );
            report.warn(delegate, format!("spec.http[{n}].match"), message);
        }
    }
}

fn gateway_spec<'a>(context: &Context<'a>, name: &str) -> Option<&'a Gateway> {
    match &context.gateways.get(name)?.spec {
        Spec::Gateway(gateway) => Some(gateway),
        _ => None,
    }
}

fn completed_hosts(context: &Context<'_>, meta: &Metadata, spec: &VirtualService) -> Vec<String> {
    spec.hosts
        .iter()
        .map(|host| context.mesh.resolve(host, &meta.namespace))
        .collect()
}

/// Whether some server of a gateway admits a host of a `VirtualService`.
fn is_served(gateway: &Gateway, gateway_name: &str, meta: &Metadata, host: &str) -> bool {
    let of_gateway = gateway_name
        .split_once('/')
        .map_or("", |(namespace, _)| namespace);
    gateway
        .servers
        .iter()
        .flat_map(|server| &server.hosts)
        .any(|served| {
            let (scope, pattern) = served.split_once('/').unwrap_or(("*", served));
            let admitted = match scope {
                "*" => true,
                "." => meta.namespace == of_gateway,
                named => meta.namespace == named,
            };
            admitted && intersect(host, pattern).is_some()
        })
}
