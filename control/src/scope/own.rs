//! What a proxy needs whatever it asks for: what concerns its own workload and its gateways.

use std::sync::Arc;

use config::Spec;
use config::mesh::{Location, Protocol, Service, Subject};
use config::resource::gateway::{Gateway, ServerTlsMode};
use config::resource::sidecar::EgressListener;
use config::{Resource, mesh};

use super::gather::{Gatherer, Way, is_exact};
use super::{secrets, service_key};
use crate::index::Touched;

// === impl Gatherer ===

impl Gatherer<'_> {
    /// What concerns everybody, and the `Sidecar` resources that say what the proxy sees.
    pub(super) fn settings(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        if let Some(config) = mesh.mesh_config_resource() {
            self.resource(config);
        }
        for sidecar in mesh.sidecars(viewer) {
            self.resource(sidecar);
        }
    }

    /// Services that the workload serves, and what callers may speak to it.
    pub(super) fn own_workload(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        for policy in mesh.peer_authentications_of(&viewer.namespace) {
            self.resource(policy);
        }
        for service in mesh.services_of(&viewer.namespace) {
            if mesh.serves(viewer, service) || self.has_endpoint_like_us(service) {
                self.service(service);
            }
        }
    }

    /// Whether a service without selector has slices with an endpoint whose labels the workload has. If
    /// it does not, a change of its slices may change that.
    fn has_endpoint_like_us(&mut self, service: &Service) -> bool {
        let Some(definition) = service.sources.first() else {
            return false;
        };
        match &definition.spec {
            Spec::Service(written) if written.spec.selector.is_empty() => {}
            _ => return false,
        }
        let key = service_key(definition);
        let names = self.generation.slices.get(&key);
        let names = names.into_iter().flat_map(|it| it.iter());
        let mut slices = names.filter_map(|name| self.generation.entries.get(name));
        let is_ours = slices.any(|slice| has_endpoint_like(&slice.resource, self.viewer()));
        self.scope.depends_on.insert(Touched::Service(key));
        is_ours
    }

    /// Policies of what comes in, and the services that they ask.
    pub(super) fn security(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        for (resource, _) in mesh.request_authentications(viewer) {
            self.resource(resource);
        }
        for (resource, policy) in mesh.authorization_policies(viewer) {
            self.resource(resource);
            let provider = policy.provider.as_ref();
            if let Some(host) = provider.and_then(|it| mesh.deciding_service(&it.name)) {
                self.host(Way::Beyond, &host);
            }
        }
        let mut tells_callers_apart = false;
        for limiting in mesh.rate_limits(viewer) {
            match limiting.subject {
                Subject::Incoming => {
                    self.limit(limiting.resource);
                    tells_callers_apart |= limiting.policy.tells_callers_apart();
                }
                // It comes with what it targets.
                Subject::Routed(_) => {}
            }
        }
        if tells_callers_apart {
            self.callers();
        }
    }

    /// Everybody who may call, as a proxy that tells its callers apart knows them by the endpoints that
    /// have their addresses. Such a proxy has the mesh as far as it sees it. Services of the callers that its
    /// limits name would not do: an address that workloads of others have, too, is nobody's, which only
    /// whoever knows all of them can tell.
    fn callers(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        for service in mesh.services().filter(|it| it.visible_to(viewer)) {
            self.service(service);
        }
    }

    /// What a `Sidecar` has listeners for. Where nothing that is spoken names a host nobody can ask, so
    /// that all there is has to be there.
    pub(super) fn egress(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        let listeners = mesh.egress_listeners(viewer).unwrap_or_default();
        for listener in listeners.iter().filter(|it| it.port.is_some()) {
            let services = mesh.egress_services(viewer, listener);
            if names_hosts(listener) {
                // Whether anybody has its port decides what the listener is.
                if let Some(first) = services.first() {
                    self.service(first);
                }
                self.written_hosts(listener);
                continue;
            }
            for service in services {
                self.service(service);
            }
            for routes in mesh.egress_routes(viewer, listener) {
                self.routes(&routes, Way::Routed);
            }
            self.scope.depends_on.insert(Touched::AnyHost);
        }
    }

    /// Hosts that a listener imports by their names.
    fn written_hosts(&mut self, listener: &EgressListener) {
        for written in &listener.hosts {
            let Some((scope, host)) = written.split_once('/') else {
                continue;
            };
            if is_exact(host) && !scope.starts_with('~') {
                let host = self.mesh().resolve(host, &self.viewer().namespace);
                self.host(Way::Named, &host);
            }
        }
    }

    /// Gateways that the proxy opens, all that their routes lead to, and their certificates.
    pub(super) fn gateways(&mut self) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        for resource in mesh.gateways(viewer) {
            let Spec::Gateway(gateway) = &resource.spec else {
                continue;
            };
            self.resource(resource);
            for server in &gateway.servers {
                for routes in mesh.gateway_routes(viewer, resource, server) {
                    self.routes(&routes, Way::Beyond);
                }
            }
            self.passed_through(resource, gateway);
        }
        for secret in secrets::of(self.generation, self.proxy) {
            self.resource(&secret);
        }
        if self.proxy.account.is_some() {
            let pod = super::pod_key(self.proxy);
            self.scope.depends_on.insert(Touched::Pod(pod));
        }
    }

    /// What TLS of the mesh that passes through a gateway may ask for: every service within the hosts
    /// of its server.
    fn passed_through(&mut self, resource: &Resource, gateway: &Gateway) {
        let (mesh, viewer) = (self.mesh(), self.viewer());
        for server in &gateway.servers {
            let mode = server.tls.as_ref().and_then(|tls| tls.mode);
            if mode != Some(ServerTlsMode::AutoPassthrough) {
                continue;
            }
            let admits = |service: &&Arc<Service>| {
                let owner = (service.namespace.as_str(), service.host.as_str());
                service.location == Location::Inside
                    && service.visible_to(viewer)
                    && server
                        .hosts
                        .iter()
                        .any(|host| serves(host, &resource.meta.namespace, owner))
            };
            for service in mesh.services().filter(admits) {
                self.service(service);
            }
        }
    }
}

/// Whether what is spoken at an egress listener names the host that is meant.
fn names_hosts(listener: &EgressListener) -> bool {
    let written = listener.port.as_ref().map_or("", |port| &port.protocol);
    written.eq_ignore_ascii_case("HTTP_PROXY")
        || Protocol::parse(written).is_some_and(|spoken| match spoken {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => true,
            Protocol::Https | Protocol::Tls | Protocol::Tcp | Protocol::Auto => false,
            Protocol::Mongo | Protocol::Redis | Protocol::Mysql => false,
        })
}

/// Whether a host of a server, `[namespace/]name`, stands for a service.
fn serves(written: &str, own_namespace: &str, (namespace, host): (&str, &str)) -> bool {
    let (scope, pattern) = written.split_once('/').unwrap_or(("*", written));
    let is_admitted = match scope {
        "*" => true,
        "." => namespace == own_namespace,
        named => namespace == named,
    };
    is_admitted && mesh::covers(pattern, host)
}

fn has_endpoint_like(resource: &Resource, viewer: &mesh::Viewer) -> bool {
    let Spec::EndpointSlice(slice) = &resource.spec else {
        return false;
    };
    let of_slice = mesh::labels_of_slice(resource);
    let endpoints = slice.endpoints.iter();
    let labels = endpoints.map(|it| it.labels.as_ref().unwrap_or(&of_slice));
    let mut labels = labels.filter(|labels| !labels.is_empty());
    labels.any(|labels| {
        labels
            .iter()
            .all(|(name, value)| viewer.labels.get(name) == Some(value))
    })
}
