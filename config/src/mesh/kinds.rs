//! Resources by kind, in the order in which they take precedence.

use std::sync::Arc;

use super::order;
use crate::resource::{Resource, Spec};

/// Resources by kind, each kind ordered by precedence.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) virtual_services: Vec<Arc<Resource>>,
    pub(super) destination_rules: Vec<Arc<Resource>>,
    pub(super) gateways: Vec<Arc<Resource>>,
    pub(super) service_entries: Vec<Arc<Resource>>,
    pub(super) workload_entries: Vec<Arc<Resource>>,
    pub(super) sidecars: Vec<Arc<Resource>>,
    pub(super) peer_authentications: Vec<Arc<Resource>>,
    pub(super) request_authentications: Vec<Arc<Resource>>,
    pub(super) authorization_policies: Vec<Arc<Resource>>,
    pub(super) rate_limit_policies: Vec<Arc<Resource>>,
    pub(super) mesh_configs: Vec<Arc<Resource>>,
    pub(super) services: Vec<Arc<Resource>>,
    pub(super) endpoint_slices: Vec<Arc<Resource>>,
    pub(super) secrets: Vec<Arc<Resource>>,
}

impl Kinds {
    pub(super) fn new(resources: &[Arc<Resource>]) -> Self {
        let mut kinds = Self::default();
        for resource in resources {
            let kind = match &resource.spec {
                Spec::VirtualService(_) => &mut kinds.virtual_services,
                Spec::DestinationRule(_) => &mut kinds.destination_rules,
                Spec::Gateway(_) => &mut kinds.gateways,
                Spec::ServiceEntry(_) => &mut kinds.service_entries,
                Spec::WorkloadEntry(_) => &mut kinds.workload_entries,
                Spec::Sidecar(_) => &mut kinds.sidecars,
                Spec::PeerAuthentication(_) => &mut kinds.peer_authentications,
                Spec::RequestAuthentication(_) => &mut kinds.request_authentications,
                Spec::AuthorizationPolicy(_) => &mut kinds.authorization_policies,
                Spec::RateLimitPolicy(_) => &mut kinds.rate_limit_policies,
                Spec::MeshConfig(_) => &mut kinds.mesh_configs,
                Spec::Service(_) => &mut kinds.services,
                Spec::EndpointSlice(_) => &mut kinds.endpoint_slices,
                Spec::Secret(_) => &mut kinds.secrets,
            };
            kind.push(Arc::clone(resource));
        }
        for kind in [
            &mut kinds.virtual_services,
            &mut kinds.destination_rules,
            &mut kinds.gateways,
            &mut kinds.service_entries,
            &mut kinds.workload_entries,
            &mut kinds.sidecars,
            &mut kinds.peer_authentications,
            &mut kinds.request_authentications,
            &mut kinds.authorization_policies,
            &mut kinds.rate_limit_policies,
            &mut kinds.mesh_configs,
            &mut kinds.services,
            &mut kinds.endpoint_slices,
            &mut kinds.secrets,
        ] {
            order::by_precedence(kind);
        }
        kinds
    }
}
