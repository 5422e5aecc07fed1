//! The listeners of gateways: one for each address, with the hosts of its servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::mesh::{Protocol as Spoken, Routes};
use config::resource::gateway::Server;
use config::{Resource, Spec};

use super::{Frontend, Ingredients, Plan, bind_addr, every_request};
use crate::table::host::{HostTable, VirtualHost};
use crate::table::redirect::Redirect;
use crate::table::route::{Action, Route};
use crate::table::{Direction, Listener, PortRule, Transport, UnknownHost};
use crate::tls::server::{TlsServer, TlsServers};

// === impl Plan ===

impl Plan<'_> {
    /// Listeners of the gateways that this proxy opens.
    pub(in crate::table::compile) fn gateways(&mut self) {
        for gateway in self.mesh.gateways(&self.perspective.viewer) {
            let Spec::Gateway(spec) = &gateway.spec else {
                continue;
            };
            for (position, server) in spec.servers.iter().enumerate() {
                self.server(gateway, position, server);
            }
        }
    }

    fn server(&mut self, gateway: &Resource, position: usize, server: &Server) {
        let Some(port) = &server.port else { return };
        let Ok(number) = u16::try_from(port.number) else {
            return;
        };
        let config = self.certificates.server(server).map(Arc::clone);
        let is_plain = Spoken::parse(&port.protocol).is_some_and(Spoken::is_http);
        if config.is_none() && !is_plain {
            return;
        }
        let bind = bind_addr(server.bind.as_deref(), self.perspective.bind, number);
        let name: Arc<str> = format!("{}/{}", gateway.meta.namespace, gateway.meta.name).into();
        let hosts = if is_plain && redirects(server) {
            redirecting_hosts(server)
        } else {
            let frontend = Frontend {
                gateway: Arc::clone(&name),
                position,
            };
            self.gateway_hosts(gateway, server, &frontend)
        };
        let listener = self
            .listeners
            .entry(bind.clone())
            .or_insert_with(|| Listener {
                bind,
                name: format!("gateway {name}"),
                direction: Direction::Gateway,
                port_rule: PortRule::Listener(number),
                unknown_host: UnknownHost::NotFound,
                hosts: HostTable::default(),
                transport: match config {
                    Some(_) => Transport::Servers(TlsServers::default()),
                    None => Transport::Plain,
                },
                admission: self.admission.clone(),
            });
        match (config, &mut listener.transport) {
            (None, Transport::Plain) => insert_all(&mut listener.hosts, hosts),
            (Some(config), Transport::Servers(servers)) => {
                let mut own = HostTable::default();
                insert_all(&mut own, hosts);
                let secured = Arc::new(TlsServer { config, hosts: own });
                for name in host_names(server) {
                    servers.insert(name, &secured);
                }
            }
            // A port speaks TLS or it does not; the first server decides.
            (Some(_), Transport::Plain) | (None, Transport::Servers(_)) => {}
            // Only ports of the workload are so, and they are made later.
            (_, Transport::Permissive(_) | Transport::Strict(_)) => {}
        }
    }

    /// At a gateway the rules of all resources for one host count, those that match everything last.
    fn gateway_hosts(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
    ) -> Vec<(String, Arc<VirtualHost>)> {
        let mut by_host: BTreeMap<String, Vec<Arc<Routes>>> = BTreeMap::new();
        for routes in self
            .mesh
            .gateway_routes(&self.perspective.viewer, gateway, server)
        {
            for host in &routes.hosts {
                by_host
                    .entry(host.clone())
                    .or_default()
                    .push(Arc::clone(&routes));
            }
        }
        let compile = |(host, routes): (String, Vec<Arc<Routes>>)| {
            let compiled = self.virtual_host(
                frontend,
                &host,
                Ingredients {
                    routes: &routes,
                    own: None,
                    ports: Box::default(),
                },
            );
            (host, compiled)
        };
        by_host.into_iter().map(compile).collect()
    }
}

fn redirects(server: &Server) -> bool {
    let tls = server.tls.as_ref();
    tls.is_some_and(|tls| tls.https_redirect == Some(true))
}

fn redirecting_hosts(server: &Server) -> Vec<(String, Arc<VirtualHost>)> {
    let host = every_request(Route::new(
        "https-redirect",
        Action::Redirect(Redirect::to_https()),
    ));
    host_names(server)
        .map(|name| (name.to_owned(), Arc::clone(&host)))
        .collect()
}

/// The hosts of a server without the namespaces from which they may be bound.
fn host_names(server: &Server) -> impl Iterator<Item = &str> {
    let hosts = server.hosts.iter();
    hosts.map(|host| host.rsplit('/').next().unwrap_or(host))
}

fn insert_all(table: &mut HostTable, hosts: Vec<(String, Arc<VirtualHost>)>) {
    for (name, host) in hosts {
        table.insert(&name, &host);
    }
}
