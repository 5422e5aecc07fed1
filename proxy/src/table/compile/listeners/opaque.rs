//! Where gateways send connections that are not HTTP: by the name in TLS, or all one way.

use std::sync::Arc;

use config::Resource;
use config::mesh::{Location, Routes, Service, covers};
use config::resource::gateway::Server;

use super::{Frontend, Plan};
use crate::table::compile::destinations::{Host, Registry, View};
use crate::table::edit::HeaderEdit;
use crate::table::opaque::{Carriage, OpaqueRoute, OpaqueRoutes, OpaqueRule};
use crate::table::split::{DestinationByPort, Split, Target};

// === impl Plan ===

impl Plan<'_> {
    /// Where TLS goes that passes through `server`, by what `tls` of the resources bound to its gateway
    /// says. Of two equal names the first counts.
    pub(super) fn passthrough(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> OpaqueRoutes {
        let bound = self.bound(gateway, server);
        let mut compiler = self.rule_compiler(frontend);
        let rules = bound.iter().flat_map(|it| compiler.tls_rules(it, port));
        OpaqueRoutes::new(&rules.collect::<Vec<_>>())
    }

    /// Where everything goes that comes to `server` without TLS, or out of the TLS that ends there: by
    /// what `tcp` of the resources bound to its gateway says.
    pub(super) fn terminated(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> OpaqueRoutes {
        let bound = self.bound(gateway, server);
        let mut compiler = self.rule_compiler(frontend);
        let rules = bound.iter().flat_map(|it| compiler.tcp_rules(it, port));
        OpaqueRoutes::new(&rules.collect::<Vec<_>>())
    }

    /// Where TLS of the mesh goes that passes through `server`, by names that say service, port and
    /// subset (`outbound_.PORT_.SUBSET_.HOST`): to the services of the mesh within its hosts.
    pub(super) fn auto_passthrough(
        &mut self,
        gateway: &Resource,
        server: &Server,
    ) -> Vec<OpaqueRule> {
        let mut rules = Vec::new();
        let (mesh, viewer) = (self.mesh, &self.perspective.viewer);
        for service in mesh.services() {
            let within = allows(server, &gateway.meta.namespace, service);
            if !within || !service.visible_to(viewer) || service.location != Location::Inside {
                continue;
            }
            let found = self.registry.host(mesh, View::Gateway, &service.host);
            if let Some(host) = found.filter(|host| Arc::ptr_eq(&host.service, service)) {
                add_service(&mut rules, self.registry, &host);
            }
        }
        rules
    }

    fn bound(&self, gateway: &Resource, server: &Server) -> Vec<Arc<Routes>> {
        let viewer = &self.perspective.viewer;
        self.mesh.gateway_routes(viewer, gateway, server)
    }
}

/// Whether a server's hosts, `[namespace/]name`, have a service.
fn allows(server: &Server, own_namespace: &str, service: &Service) -> bool {
    server.hosts.iter().any(|host| {
        let (scope, pattern) = host.split_once('/').unwrap_or(("*", host));
        let admitted = match scope {
            "*" => true,
            "." => service.namespace == own_namespace,
            named => service.namespace == named,
        };
        admitted && covers(pattern, &service.host)
    })
}

/// Adds every port and subset of a service.
fn add_service(rules: &mut Vec<OpaqueRule>, registry: &mut Registry, host: &Arc<Host>) {
    for port in &host.service.ports {
        let subsets = host.policy.subsets.iter().map(|it| Some(it.name.as_str()));
        for subset in subsets.chain([None]) {
            let place = host.place(subset, port.number);
            let destination = registry.host_destination(host, place);
            let target = Target {
                host: Arc::clone(&host.name),
                subset: subset.map(Into::into),
                port: Some(port.number),
                weight: 1,
                destination: DestinationByPort::Fixed(destination),
                request_headers: HeaderEdit::default(),
                response_headers: HeaderEdit::default(),
            };
            let route = Arc::new(OpaqueRoute {
                origin: None,
                position: 0,
                port: port.number,
                split: Split::new(vec![target], None),
                carriage: Carriage::Untouched,
            });
            let subset = subset.unwrap_or_default();
            let name = format!("outbound_.{}_.{subset}_.{}", port.number, host.name);
            rules.push(OpaqueRule {
                names: [name.into()].into(),
                ..OpaqueRule::always(route)
            });
        }
    }
}
