//! The listeners of gateways: one for each address, with the hosts of its servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::mesh::{Mesh, Protocol as Spoken, Routes};
use config::resource::gateway::{Server, ServerTlsMode};
use config::{Resource, Spec};

use super::{Frontend, Ingredients, Plan, bind_addr, every_request};
use crate::table::compile::Perspective;
use crate::table::host::{HostTable, VirtualHost};
use crate::table::opaque::OpaqueRoutes;
use crate::table::redirect::Redirect;
use crate::table::route::{Action, Route};
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, Transport, UnknownHost};
use crate::tls::gateway::{TlsServer, TlsServers};

/// Hosts by their names.
type Hosts = Vec<(String, Arc<VirtualHost>)>;

/// The selectors of the gateways that share a port: labels of the workloads that they are for.
pub(super) type Selectors = BTreeSet<BTreeMap<String, String>>;

/// What a server serves.
enum Served {
    /// Hosts, in plain text.
    Plain(Hosts),
    /// Itself, under each of its names.
    Tls(Vec<(String, Arc<TlsServer>)>),
    /// Anything, in plain text.
    Opaque(OpaqueRoutes),
}

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
        // Where nobody gets in nobody need knock.
        self.listeners
            .retain(|_, listener| match &listener.transport {
                Transport::Servers(servers) => servers.iter().any(|(_, it)| !it.is_shut()),
                Transport::Plain | Transport::Permissive(_) | Transport::Strict(_) => true,
            });
    }

    fn server(&mut self, gateway: &Resource, position: usize, server: &Server) {
        let Some((bind, number)) = bind_of(server, self.perspective) else {
            return;
        };
        let protocol = server.port.as_ref().map_or("", |port| &port.protocol);
        let name: Arc<str> = format!("{}/{}", gateway.meta.namespace, gateway.meta.name).into();
        let frontend = Frontend {
            gateway: Arc::clone(&name),
            position,
        };
        let served = match Spoken::parse(protocol) {
            Some(spoken) if spoken.is_http() => {
                Served::Plain(self.plain(gateway, server, &frontend))
            }
            Some(Spoken::Https | Spoken::Tls) => {
                Served::Tls(self.secured(gateway, server, &frontend, number))
            }
            Some(Spoken::Tcp | Spoken::Mongo | Spoken::Redis | Spoken::Mysql) => {
                Served::Opaque(self.terminated(gateway, server, &frontend, number))
            }
            Some(_) | None => return,
        };
        let admission = self.at_gateways.get(&bind).unwrap_or(&self.admission);
        let admission = admission.clone();
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
                transport: match served {
                    Served::Tls(_) => Transport::Servers(TlsServers::default()),
                    Served::Plain(_) | Served::Opaque(_) => Transport::Plain,
                },
                speaks: match served {
                    Served::Opaque(_) => Speaks::Opaque,
                    Served::Plain(_) | Served::Tls(_) => Speaks::Http,
                },
                opaque: OpaqueRoutes::default(),
                captured: None,
                admission,
            });
        match (served, &mut listener.transport) {
            (Served::Plain(hosts), Transport::Plain) if listener.speaks == Speaks::Http => {
                insert_all(&mut listener.hosts, hosts);
            }
            // Nothing tells several servers apart; the first that goes somewhere has it all.
            (Served::Opaque(routes), Transport::Plain) if listener.speaks == Speaks::Opaque => {
                if listener.opaque.is_empty() {
                    listener.opaque = routes;
                }
            }
            (Served::Tls(secured), Transport::Servers(servers)) => {
                for (name, server) in secured {
                    servers.insert(&name, &server);
                }
            }
            // A port speaks HTTP, TLS, or anything; the first server decides.
            (Served::Plain(_) | Served::Opaque(_), Transport::Plain | Transport::Servers(_))
            | (Served::Tls(_), Transport::Plain) => {}
            // Only ports of the workload are so, and they are made later.
            (_, Transport::Permissive(_) | Transport::Strict(_)) => {}
        }
    }

    fn plain(&mut self, gateway: &Resource, server: &Server, frontend: &Frontend) -> Hosts {
        match redirects(server) {
            true => redirecting_hosts(server),
            false => self.gateway_hosts(gateway, server, frontend),
        }
    }

    /// A server with TLS under each of its names. One that asks for what we cannot do has its names
    /// all the same: it stays shut rather than be served with less than was asked for.
    fn secured(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> Vec<(String, Arc<TlsServer>)> {
        let tls = server.tls.as_ref();
        let mode = tls.and_then(|tls| tls.mode);
        let secured = match mode.unwrap_or(ServerTlsMode::Passthrough) {
            ServerTlsMode::Passthrough => {
                TlsServer::Passthrough(self.passthrough(gateway, server, frontend, port))
            }
            ServerTlsMode::AutoPassthrough => {
                let rules = self.auto_passthrough(gateway, server);
                let routes = OpaqueRoutes::new(&rules);
                let server = Arc::new(TlsServer::Passthrough(routes));
                let names = rules.iter().flat_map(|rule| &rule.names);
                let named = names.map(|name| (name.to_string(), Arc::clone(&server)));
                return named.collect();
            }
            ServerTlsMode::Simple
            | ServerTlsMode::Mutual
            | ServerTlsMode::OptionalMutual
            | ServerTlsMode::IstioMutual => self.terminating(gateway, server, frontend, port),
        };
        let secured = Arc::new(secured);
        let names = host_names(server).map(|name| (name.to_owned(), Arc::clone(&secured)));
        names.collect()
    }

    fn terminating(
        &mut self,
        gateway: &Resource,
        server: &Server,
        frontend: &Frontend,
        port: u16,
    ) -> TlsServer {
        let Some(acceptance) = self.certificates.acceptance(server).map(Arc::clone) else {
            return TlsServer::Shut;
        };
        let protocol = server.port.as_ref().map_or("", |port| &port.protocol);
        if Spoken::parse(protocol) == Some(Spoken::Tls) {
            let routes = self.terminated(gateway, server, frontend, port);
            return TlsServer::Opaque(acceptance, routes);
        }
        let mut hosts = HostTable::default();
        insert_all(&mut hosts, self.gateway_hosts(gateway, server, frontend));
        TlsServer::Http(acceptance, hosts)
    }

    /// At a gateway the rules of all resources for one host count, those that match everything last.
    fn gateway_hosts(&mut self, gateway: &Resource, server: &Server, frontend: &Frontend) -> Hosts {
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

/// Which workloads this proxy stands for at the ports of gateways, if it has no labels by which
/// policies could select it: those for which the gateways are. So a gateway is never open without the
/// policies that are written for it.
pub(super) fn selectors(mesh: &Mesh, perspective: &Perspective) -> BTreeMap<Bind, Selectors> {
    let mut all: BTreeMap<Bind, Selectors> = BTreeMap::new();
    if !perspective.viewer.labels.is_empty() {
        return all;
    }
    for gateway in mesh.gateways(&perspective.viewer) {
        let Spec::Gateway(spec) = &gateway.spec else {
            continue;
        };
        for server in &spec.servers {
            if let Some((bind, _)) = bind_of(server, perspective) {
                let selectors = all.entry(bind).or_default();
                selectors.insert(spec.selector.clone());
            }
        }
    }
    all
}

/// Where a server listens, and its port.
fn bind_of(server: &Server, perspective: &Perspective) -> Option<(Bind, u16)> {
    let number = u16::try_from(server.port.as_ref()?.number).ok()?;
    let bind = bind_addr(server.bind.as_deref(), perspective.bind, number);
    Some((bind, number))
}

fn redirects(server: &Server) -> bool {
    let tls = server.tls.as_ref();
    tls.is_some_and(|tls| tls.https_redirect == Some(true))
}

fn redirecting_hosts(server: &Server) -> Hosts {
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

fn insert_all(table: &mut HostTable, hosts: Hosts) {
    for (name, host) in hosts {
        table.insert(&name, &host);
    }
}
