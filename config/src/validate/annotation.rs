//! Metadata that steers anything: names, Istio's reserved annotations, and our own.

use std::str::FromStr;

use crate::annotation::{HealthCheck, SuccessRate};
use crate::fault::{
    FAULT_RESET, FAULT_SCOPE, FAULT_SLOW_BODY, FaultScope, ResetFault, Rules, SlowBodyFault,
};
use crate::mesh::MESH_GATEWAY;
use crate::resource::authorization_policy::{DRY_RUN, truth};
use crate::resource::destination_rule::{DestinationRule, TrafficPolicy};
use crate::resource::virtual_service::VirtualService;
use crate::resource::{Resource, Spec};
use crate::validate::findings::Findings;
use crate::value::Duration;

/// Prefix of the annotations that say what the API has no field for.
const PREFIX: &str = "meshproxy.io/";

/// Keeps a client on the destination of a weighted split that it got first.
const STICKY_BY: &str = "meshproxy.io/sticky-by";

/// Every annotation of ours.
const KNOWN: [&str; 6] = [
    STICKY_BY,
    FAULT_SCOPE,
    FAULT_RESET,
    FAULT_SLOW_BODY,
    SuccessRate::ANNOTATION,
    HealthCheck::ANNOTATION,
];

/// Those that only a `VirtualService` can have.
const OF_VIRTUAL_SERVICES: [&str; 4] = [STICKY_BY, FAULT_SCOPE, FAULT_RESET, FAULT_SLOW_BODY];

/// Annotations that only the control plane itself may set.
const RESERVED: [&str; 2] = [
    "internal.istio.io/parents",
    "internal.istio.io/parent-namespace",
];

/// Annotation by which a resource asks to be refused.
const ALWAYS_REJECT: &str = "internal.istio.io/webhook-always-reject";

/// Least similarity of an unknown name to the one that is suggested instead (0 to 1).
const SIMILARITY_MIN: f64 = 0.6;

/// Checks the annotations and, for a `Gateway`, the name.
pub(crate) fn check(resource: &Resource, f: &mut Findings) {
    if let Spec::Gateway(_) = resource.spec {
        let name = &resource.meta.name;
        let generated = resource
            .meta
            .annotations
            .get("internal.istio.io/gateway-semantics")
            .is_some_and(|semantics| semantics == "gateway");
        if !super::host::is_label(name) && !generated {
            f.error_in(
                "name",
                format!("must be a DNS label (no dots), got \"{name}\""),
            );
        }
    }
    f.field("annotations", |f| {
        for (name, value) in &resource.meta.annotations {
            f.key(name, |f| check_one(resource, name, value, f));
        }
    });
}

fn check_one(resource: &Resource, name: &str, value: &str, f: &mut Findings) {
    match name {
        _ if RESERVED.contains(&name) => f.error("is reserved for the control plane; remove it"),
        ALWAYS_REJECT => f.error("asks for the resource to be refused; remove it"),
        DRY_RUN => match &resource.spec {
            Spec::AuthorizationPolicy(_) if truth(value).is_some() => {}
            Spec::AuthorizationPolicy(_) => {
                f.error(format!("must be true or false, got \"{value}\""));
            }
            _ => f.error(format!(
                "is not supported on a {}; remove it",
                resource.kind()
            )),
        },
        _ if OF_VIRTUAL_SERVICES.contains(&name) => match &resource.spec {
            Spec::VirtualService(service) => check_of_service(service, name, value, f),
            _ => f.warn(format!(
                "has no effect on a {}, only on a VirtualService",
                resource.kind()
            )),
        },
        SuccessRate::ANNOTATION | HealthCheck::ANNOTATION => match &resource.spec {
            Spec::DestinationRule(rule) => check_of_endpoints(rule, name, value, f),
            _ => f.warn(format!(
                "has no effect on a {}, only on a DestinationRule",
                resource.kind()
            )),
        },
        _ if name.starts_with(PREFIX) => f.warn(unknown(name)),
        _ => {}
    }
}

fn check_of_service(service: &VirtualService, name: &str, value: &str, f: &mut Findings) {
    match name {
        FAULT_SCOPE => {
            read::<FaultScope>(value, f);
        }
        FAULT_RESET => {
            let fault = read::<ResetFault>(value, f);
            check_rules(service, fault.map(|fault| fault.rules), f);
        }
        FAULT_SLOW_BODY => {
            let fault = read::<SlowBodyFault>(value, f);
            check_rules(service, fault.map(|fault| fault.rules), f);
        }
        _ => check_sticky_by(service, value, f),
    }
}

fn read<T: FromStr<Err = String>>(value: &str, f: &mut Findings) -> Option<T> {
    value
        .parse()
        .map_err(|message: String| f.error(message))
        .ok()
}

/// Looks for rules that are named and not there. Delegates bring rules with names of their own.
fn check_rules(service: &VirtualService, rules: Option<Rules>, f: &mut Findings) {
    let Some(Rules::Named(names)) = rules else {
        return;
    };
    if service.http.iter().any(|rule| rule.delegate.is_some()) {
        return;
    }
    for name in names {
        let mut known = service.http.iter().filter_map(|rule| rule.name.as_ref());
        if !known.any(|known| *known == name) {
            f.error(format!("must name rules of http, got \"{name}\""));
        }
    }
}

fn check_sticky_by(service: &VirtualService, value: &str, f: &mut Findings) {
    let (kind, argument) = value
        .split_once(':')
        .map_or((value, None), |(a, b)| (a, Some(b)));
    match (kind, argument) {
        ("source-ip", None) => {}
        ("header", Some(name)) if super::header::is_token(name) => {}
        ("jwt", Some(claim)) if !claim.is_empty() => check_sticky_claim(service, f),
        ("cookie", Some(cookie)) => check_cookie(cookie, f),
        _ => f.error(format!(
            "must be header:NAME, cookie:NAME[;ttl=DURATION], source-ip or jwt:CLAIM, got \
             \"{value}\""
        )),
    }
}

/// Tokens are judged where requests come in: what a workload sends has none.
fn check_sticky_claim(service: &VirtualService, f: &mut Findings) {
    let gateways = &service.gateways;
    if gateways.is_empty() || gateways.iter().any(|it| it == MESH_GATEWAY) {
        f.warn("jwt has no effect on requests of workloads, only at gateways");
    }
}

/// Checks what says how the endpoints of a destination are judged.
fn check_of_endpoints(rule: &DestinationRule, name: &str, value: &str, f: &mut Findings) {
    let parsed = match name {
        SuccessRate::ANNOTATION => value.parse::<SuccessRate>().map(drop),
        _ => value.parse::<HealthCheck>().map(drop),
    };
    if let Err(error) = parsed {
        f.error(error.to_string());
    } else if name == SuccessRate::ANNOTATION && !has_outlier_detection(rule) {
        f.warn("has no effect without outlierDetection");
    }
}

fn has_outlier_detection(rule: &DestinationRule) -> bool {
    let subsets = rule
        .subsets
        .iter()
        .filter_map(|it| it.traffic_policy.as_ref());
    let has_block = |policy: &TrafficPolicy| {
        let mut ports = policy.port_level_settings.iter();
        policy.outlier_detection.is_some() || ports.any(|port| port.outlier_detection.is_some())
    };
    rule.traffic_policy.iter().chain(subsets).any(has_block)
}

fn check_cookie(cookie: &str, f: &mut Findings) {
    let (name, attribute) = cookie
        .split_once(';')
        .map_or((cookie, None), |(a, b)| (a, Some(b)));
    if !super::header::is_token(name) {
        f.error(format!(
            "must name a cookie after \"cookie:\", got \"{name}\""
        ));
    }
    let Some(attribute) = attribute else {
        return;
    };
    match attribute.trim().strip_prefix("ttl=") {
        Some(ttl) => {
            if let Err(error) = ttl.parse::<Duration>() {
                f.error(format!("ttl {error}"));
            }
        }
        None => f.error(format!(
            "must have only ttl=DURATION after \";\", got \"{attribute}\""
        )),
    }
}

fn unknown(name: &str) -> String {
    let similarity =
        |known: &str| strsim::jaro_winkler(&known[PREFIX.len()..], &name[PREFIX.len()..]);
    let nearest = KNOWN
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest {
        Some(known) if similarity(known) >= SIMILARITY_MIN => {
            format!("is not known and has no effect; did you mean {known}?")
        }
        _ => format!(
            "is not known and has no effect; known are {}",
            KNOWN.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
