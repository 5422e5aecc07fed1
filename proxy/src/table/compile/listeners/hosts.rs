//! The hosts of outbound listeners, and the names by which they are asked for.

use std::sync::Arc;

use config::mesh::{Protocol as Spoken, Routes, Service, covers};
use rustc_hash::FxHashMap;

use super::{Frontend, Ingredients, Plan};
use crate::table::host::{HostTable, VirtualHost};

/// A host of an outbound listener: what routes name, or a service.
pub(super) struct NamedHost<'m> {
    /// Completed.
    pub(super) name: String,
    pub(super) service: Option<&'m Arc<Service>>,
    pub(super) made: Arc<VirtualHost>,
}

// === impl Plan ===

impl Plan<'_> {
    /// Hosts of an outbound listener: what routes name, and every service under its name.
    pub(super) fn named_hosts<'m>(
        &mut self,
        frontend: &Frontend,
        services: &[&'m Arc<Service>],
        routes: &[Arc<Routes>],
    ) -> Vec<NamedHost<'m>> {
        // Routes name hosts in full; a service may have been written with its short name.
        let named: Vec<(String, &'m Arc<Service>)> = services
            .iter()
            .map(|service| {
                (
                    self.mesh.resolve(&service.host, &service.namespace),
                    *service,
                )
            })
            .collect();
        let by_host: FxHashMap<&str, &'m Arc<Service>> = named
            .iter()
            .map(|(name, service)| (name.as_str(), *service))
            .collect();
        // Of two routes for one host the first wins; `order` keeps which that is.
        let mut governed: FxHashMap<&str, &Arc<Routes>> = FxHashMap::default();
        let mut order: Vec<&str> = Vec::new();
        for routes in routes.iter().filter(|routes| !routes.spec.http.is_empty()) {
            for host in &routes.hosts {
                governed.entry(host).or_insert_with(|| {
                    order.push(host);
                    routes
                });
            }
        }
        let mut wildcards: Vec<&str> = order.clone();
        wildcards.retain(|host| host.starts_with('*'));
        wildcards.sort_by_key(|host| std::cmp::Reverse(host.len()));
        let mut compiled: Vec<NamedHost<'m>> = Vec::new();
        for host in order {
            let service = by_host.get(host).copied();
            let ports = service.map_or_else(Box::default, |service| http_ports(service));
            let ingredients = Ingredients {
                routes: std::slice::from_ref(governed[host]),
                own: None,
                ports,
            };
            compiled.push(NamedHost {
                name: host.to_owned(),
                service,
                made: self.virtual_host(frontend, host, ingredients),
            });
        }
        let ungoverned = named
            .iter()
            .filter(|(name, _)| !governed.contains_key(name.as_str()));
        for (name, service) in ungoverned {
            let covering = wildcards.iter().find(|pattern| covers(pattern, name));
            let one = covering.map(|pattern| std::slice::from_ref(governed[pattern]));
            let ingredients = Ingredients {
                routes: one.unwrap_or_default(),
                own: one.is_none().then_some(*service),
                ports: http_ports(service),
            };
            compiled.push(NamedHost {
                name: name.clone(),
                service: Some(service),
                made: self.virtual_host(frontend, name, ingredients),
            });
        }
        compiled
    }

    /// Names as written come first: no short form or address of one host may take that of another.
    pub(super) fn host_table(&self, hosts: &[&NamedHost<'_>]) -> HostTable {
        let mut table = HostTable::default();
        for host in hosts {
            table.insert(&host.name, &host.made);
        }
        for host in hosts {
            self.insert_other_names(&mut table, host);
        }
        table
    }

    /// A service answers also to the shorter forms that Kubernetes' DNS knows, and to its addresses.
    fn insert_other_names(&self, table: &mut HostTable, host: &NamedHost<'_>) {
        let NamedHost {
            name,
            service,
            made,
        } = host;
        let suffix = format!(".svc.{}", self.mesh.settings().domain);
        if let Some(short) = name.strip_suffix(&suffix) {
            let own = short
                .rsplit_once('.')
                .filter(|(_, namespace)| *namespace == self.perspective.viewer.namespace);
            table.insert(&format!("{short}.svc"), made);
            for other in [short].into_iter().chain(own.map(|(name, _)| name)) {
                // What is left of a wildcard for services would stand for every host there is.
                if other != "*" {
                    table.insert(other, made);
                }
            }
        }
        let addresses = service.iter().flat_map(|it| self.mesh.addresses(it));
        for ip in addresses.filter_map(|block| block.alone()) {
            table.insert(&ip.to_string(), made);
        }
    }
}

/// Ports on which HTTP can be spoken, ascending.
fn http_ports(service: &Service) -> Box<[u16]> {
    let http = service
        .ports
        .iter()
        .filter(|port| port.protocol.is_http() || port.protocol == Spoken::Auto);
    let mut ports: Vec<u16> = http.map(|port| port.number).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into()
}
