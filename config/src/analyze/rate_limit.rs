//! Rate limits for what does not exist, and rate-limit services that cannot be asked.

use std::sync::Arc;

use super::{Context, Report};
use crate::mesh::{Protocol, Viewer};
use crate::resource::Resource;
use crate::resource::rate_limit_policy::RateLimitPolicy;

pub(super) fn check(
    context: &Context<'_>,
    resource: &Arc<Resource>,
    policy: &RateLimitPolicy,
    report: &mut Report,
) {
    let namespace = resource.meta.namespace.as_str();
    for (at, target) in policy.target_refs.iter().enumerate() {
        if context
            .mesh
            .virtual_service(namespace, &target.name)
            .is_none()
        {
            let name = &target.name;
            let message =
                format!("no VirtualService \"{name}\" is known in namespace \"{namespace}\"");
            report.warn(resource, format!("spec.targetRefs[{at}].name"), message);
        }
    }
    let Some(service) = &policy.service else {
        return;
    };
    let viewer = Viewer {
        namespace: namespace.to_owned(),
        ..Viewer::default()
    };
    let host = context.mesh.resolve(&service.host, namespace);
    let Some(known) = context.mesh.gateway_service(&viewer, &host) else {
        let message = format!("no service \"{host}\" is known in namespace \"{namespace}\"");
        return report.warn(resource, "spec.service.host", message);
    };
    let port = u16::try_from(service.port).ok();
    let port = port.and_then(|port| known.port(port));
    match port.map(|port| port.protocol) {
        Some(Protocol::Grpc | Protocol::Http2 | Protocol::Auto) => {}
        Some(_) => report.warn(
            resource,
            "spec.service.port",
            format!("should be a port of protocol GRPC or HTTP2 of \"{host}\""),
        ),
        None => report.warn(
            resource,
            "spec.service.port",
            format!("service \"{host}\" has no port {}", service.port),
        ),
    }
}
