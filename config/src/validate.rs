//! What is wrong with one resource: every problem at once, each at its field.
//!
//! The rules are those of the API: what its control plane refuses is an error here, what it warns
//! about is a warning. Beyond that, a value that the API lets pass but no proxy can carry out (a
//! redirect with status 304, a fault with status 600) is an error too, so that what passes always
//! compiles. Unknown fields and wrong types never get here: decoding refuses them. What is deprecated or
//! has no effect yet is the matter of `effect`, what is wrong between resources that of `analyze`.

use crate::problem::Finding;
use crate::resource::{Resource, Spec};

mod annotation;
mod authorization_policy;
mod client_tls;
mod destination_rule;
mod field;
mod findings;
mod gateway;
mod header;
pub mod host;
mod kubernetes;
mod load_balancer;
mod locality;
mod mesh_config;
pub mod pattern;
mod peer_authentication;
mod rate_limit_policy;
mod request_authentication;
mod secret;
mod selector;
mod server_tls;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod virtual_service;
mod workload_entry;

pub use client_tls::UNVERIFIED;
use findings::Findings;

/// Every problem of `resource`, in the order of its fields; empty when there is none.
///
/// A resource with an error must not be used; one with warnings can be.
pub fn validate(resource: &Resource) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.field("metadata", |f| annotation::check(resource, f));
    findings.field("spec", |f| match &resource.spec {
        Spec::VirtualService(service) => virtual_service::check(service, &resource.meta, f),
        Spec::DestinationRule(rule) => destination_rule::check(rule, &resource.meta, f),
        Spec::Gateway(gateway) => gateway::check(gateway, f),
        Spec::ServiceEntry(entry) => service_entry::check(entry, &resource.meta, f),
        Spec::WorkloadEntry(entry) => workload_entry::check(entry, f),
        Spec::Sidecar(sidecar) => sidecar::check(sidecar, &resource.meta, f),
        Spec::PeerAuthentication(policy) => peer_authentication::check(policy, &resource.meta, f),
        Spec::RequestAuthentication(policy) => {
            request_authentication::check(policy, &resource.meta, f)
        }
        Spec::AuthorizationPolicy(policy) => authorization_policy::check(policy, &resource.meta, f),
        Spec::RateLimitPolicy(policy) => rate_limit_policy::check(policy, f),
        Spec::MeshConfig(_) => {}
        Spec::Service(service) => kubernetes::check_service(service, f),
        // These have no `spec`.
        Spec::EndpointSlice(_) | Spec::Secret(_) => {}
    });
    match &resource.spec {
        Spec::EndpointSlice(slice) => kubernetes::check_slice(slice, &mut findings),
        Spec::MeshConfig(config) => {
            let (outer, inner) = config.carrier.fields();
            let check = |f: &mut Findings| mesh_config::check(config, f);
            findings.field(outer, |f| f.field(inner, check));
        }
        _ => {}
    }
    if let Spec::Secret(secret) = &resource.spec {
        secret::check(secret, &mut findings);
    }
    findings.into_vec()
}

#[cfg(test)]
mod tests;
