//! `DestinationRule` resources that govern nothing, or less than they say.

use std::sync::Arc;

use super::destination::unknown_host;
use super::{Context, Report};
use crate::mesh::{Service, Viewer, covers};
use crate::resource::destination_rule::{DestinationRule, TrafficPolicy};
use crate::resource::{Resource, Spec};

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    rule: &DestinationRule,
    report: &mut Report,
) {
    let namespace = &resource.meta.namespace;
    let viewer = Viewer {
        namespace: namespace.clone(),
        ..Viewer::default()
    };
    let host = context.mesh.resolve(&rule.host, namespace);
    if host.starts_with('*') {
        if !context
            .mesh
            .services()
            .any(|service| covers(&host, &service.host))
        {
            let message = format!("no service is within {host:?}");
            report.warn(resource, "spec.host", message);
        }
        return;
    }
    let Some(service) = context.mesh.gateway_service(&viewer, &host) else {
        report.warn(resource, "spec.host", unknown_host(context, &viewer, &host));
        return;
    };
    check_subsets(resource, rule, service, report);
    if let Some(policy) = &rule.traffic_policy {
        check_ports(resource, ("spec.trafficPolicy", policy), service, report);
    }
    for (at, subset) in rule.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            let path = format!("spec.subsets[{at}].trafficPolicy");
            check_ports(resource, (&path, policy), service, report);
        }
    }
    check_merge(context, resource, (rule, service), report);
}

fn check_subsets(
    resource: &Arc<Resource>,
    rule: &DestinationRule,
    service: &Service,
    report: &mut Report,
) {
    // A slice does not carry the labels of its pods, so that nothing can be said about them.
    let is_sliced = service
        .sources
        .iter()
        .any(|source| matches!(source.spec, Spec::EndpointSlice(_)));
    if service.endpoints.is_empty() || is_sliced {
        return;
    }
    for (at, subset) in rule.subsets.iter().enumerate() {
        let selected = service.endpoints.iter().any(|endpoint| {
            subset
                .labels
                .iter()
                .all(|(key, value)| endpoint.labels.get(key) == Some(value))
        });
        if !selected {
            let message = format!("no endpoint of {:?} has these labels", service.host);
            report.warn(resource, format!("spec.subsets[{at}].labels"), message);
        }
    }
}

fn check_ports(
    resource: &Arc<Resource>,
    (path, policy): (&str, &TrafficPolicy),
    service: &Service,
    report: &mut Report,
) {
    for (at, settings) in policy.port_level_settings.iter().enumerate() {
        let Some(selector) = &settings.port else {
            continue;
        };
        let known = service
            .ports
            .iter()
            .any(|port| u32::from(port.number) == selector.number);
        if !known {
            let message = format!("service {:?} has no port {}", service.host, selector.number);
            report.warn(
                resource,
                format!("{path}.portLevelSettings[{at}].port"),
                message,
            );
        }
    }
}

/// What is lost where several rules for one host are merged.
fn check_merge(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    (rule, service): (&DestinationRule, &Service),
    report: &mut Report,
) {
    if rule.workload_selector.is_some() {
        return;
    }
    let policy = context.mesh.any_policy(&resource.meta.namespace, service);
    let Some(place) = policy
        .sources
        .iter()
        .position(|source| Arc::ptr_eq(source, resource))
    else {
        return;
    };
    let first = policy.sources[..place]
        .iter()
        .find(|source| match &source.spec {
            Spec::DestinationRule(older) => {
                older.traffic_policy.is_some() && older.workload_selector.is_none()
            }
            _ => false,
        });
    if let Some(first) = first.filter(|_| rule.traffic_policy.is_some()) {
        let message = format!("ignored: {first} has one for the same host and goes first");
        report.warn(resource, "spec.trafficPolicy", message);
    }
    for (at, subset) in rule.subsets.iter().enumerate() {
        if let Some(kept) = policy.subset(&subset.name)
            && !Arc::ptr_eq(&kept.source, resource)
        {
            let message = format!("ignored: {} defines a subset of this name", kept.source);
            report.warn(resource, format!("spec.subsets[{at}].name"), message);
        }
    }
}
