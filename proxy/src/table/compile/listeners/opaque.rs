//! Where gateways send connections that are not HTTP: by the name in TLS, or all one way.

use std::sync::Arc;

use config::Resource;
use config::mesh::{Location, Routes, Service, covers, intersect};
use config::resource::gateway::Server;
use config::resource::virtual_service::{L4Match, TlsMatch};

use super::{Frontend, Plan};
use crate::table::compile::destinations::{Host, Registry, View};
use crate::table::compile::rules::RuleCompiler;
use crate::table::edit::HeaderEdit;
use crate::table::host::HostTable;
use crate::table::opaque::{Carriage, OpaqueRoute};
use crate::table::split::{DestinationByPort, Split, Target};

// === impl Plan ===

impl Plan<'_> {
    /// Where TLS goes that passes through `server`, by the names in `tls` of the resources bound to
    /// its gateway. Of two equal names the first counts.
    pub(super) fn passthrough(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> HostTable<OpaqueRoute> {
        let mut table = HostTable::default();
        for routes in self.bound(gateway, server) {
            let mut compiler = self.opaque_rules(frontend);
            for (position, rule) in (0_u32..).zip(&routes.spec.tls) {
                let blocks = rule.matches.iter();
                let mut names = blocks
                    .filter(|block| applies_by_name(&compiler, block, port))
                    .flat_map(|block| names(block, &routes))
                    .peekable();
                if names.peek().is_none() {
                    continue;
                }
                let names: Vec<&str> = names.collect();
                let route = Arc::new(OpaqueRoute {
                    origin: routes.sources.first().cloned(),
                    position,
                    port,
                    split: compiler.opaque_split(&rule.route),
                    carriage: Carriage::ByPolicy,
                });
                for name in names {
                    table.insert(name, &route);
                }
            }
        }
        table
    }

    /// Where everything goes that comes out of the TLS that ends at `server`: by the first of the
    /// rules in `tcp` of the resources bound to its gateway that is for its port.
    pub(super) fn terminated(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> Option<Arc<OpaqueRoute>> {
        for routes in self.bound(gateway, server) {
            let mut compiler = self.opaque_rules(frontend);
            for (position, rule) in (0_u32..).zip(&routes.spec.tcp) {
                let mut blocks = rule.matches.iter();
                let applies = rule.matches.is_empty()
                    || blocks.any(|block| applies_at_port(&compiler, block, port));
                if applies {
                    return Some(Arc::new(OpaqueRoute {
                        origin: routes.sources.first().cloned(),
                        position,
                        port,
                        split: compiler.opaque_split(&rule.route),
                        carriage: Carriage::ByPolicy,
                    }));
                }
            }
        }
        None
    }

    /// Where TLS of the mesh goes that passes through `server`, by names that say service, port and
    /// subset (`outbound_.PORT_.SUBSET_.HOST`): to the services of the mesh within its hosts.
    pub(super) fn auto_passthrough(
        &mut self,
        gateway: &Resource,
        server: &Server,
    ) -> HostTable<OpaqueRoute> {
        let mut table = HostTable::default();
        let (mesh, viewer) = (self.mesh, &self.perspective.viewer);
        for service in mesh.services() {
            let within = allows(server, &gateway.meta.namespace, service);
            if !within || !service.visible_to(viewer) || service.location != Location::Inside {
                continue;
            }
            let found = self.registry.host(mesh, View::Gateway, &service.host);
            if let Some(host) = found.filter(|host| Arc::ptr_eq(&host.service, service)) {
                add_service(&mut table, self.registry, &host);
            }
        }
        table
    }

    fn bound(&self, gateway: &Resource, server: &Server) -> Vec<Arc<Routes>> {
        let viewer = &self.perspective.viewer;
        self.mesh.gateway_routes(viewer, gateway, server)
    }

    fn opaque_rules<'r>(&'r mut self, frontend: &'r Frontend) -> RuleCompiler<'r> {
        RuleCompiler {
            mesh: self.mesh,
            perspective: self.perspective,
            registry: self.registry,
            gateway: &frontend.gateway,
            view: frontend.view(),
            uses: Vec::new(),
            blocks: 0,
            elsewhere: Vec::new(),
        }
    }
}

/// Whether the conditions hold that are not on the name.
fn applies_by_name(compiler: &RuleCompiler<'_>, block: &TlsMatch, port: u16) -> bool {
    let namespace = block.source_namespace.as_deref();
    let wants = compiler.wants_others(&block.gateways, &block.source_labels, namespace);
    // Conditions on addresses are not looked at yet, and nothing may go where they could forbid it.
    wants.is_none() && is_for(block.port, port) && block.destination_subnets.is_empty()
}

fn applies_at_port(compiler: &RuleCompiler<'_>, block: &L4Match, port: u16) -> bool {
    let namespace = block.source_namespace.as_deref();
    let wants = compiler.wants_others(&block.gateways, &block.source_labels, namespace);
    let addresses = !block.destination_subnets.is_empty() || block.source_subnet.is_some();
    wants.is_none() && is_for(block.port, port) && !addresses
}

fn is_for(written: Option<u32>, port: u16) -> bool {
    written.is_none_or(|written| written == 0 || written == u32::from(port))
}

/// The names of a block, as far as they lie within the hosts that are served.
fn names<'b>(block: &'b TlsMatch, routes: &'b Routes) -> impl Iterator<Item = &'b str> {
    let names = block.sni_hosts.iter();
    names.flat_map(|name| {
        let hosts = routes.hosts.iter();
        hosts.filter_map(move |host| intersect(name, host))
    })
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
fn add_service(table: &mut HostTable<OpaqueRoute>, registry: &mut Registry, host: &Arc<Host>) {
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
            table.insert(&name, &route);
        }
    }
}
