//! Where connections to one port of a service go that are not HTTP: what `tls` and `tcp` of
//! `VirtualService` resources say, and the service itself.
//!
//! Listeners are made of these pieces: one that stands for the addresses of a service has the whole
//! piece, one that stands for a port has the pieces of several services, told apart by names in TLS.

use std::sync::Arc;

use config::ip_block::IpBlock;
use config::mesh::{Protocol as Spoken, Routes, Service, intersect};
use config::resource::virtual_service::{L4Match, RouteDestination, TlsMatch};

use rustc_hash::FxHashMap;

use super::{Basis, Frontend, Plan, sources};
use crate::table::Listener;
use crate::table::compile::destinations::Host;
use crate::table::compile::rules::RuleCompiler;
use crate::table::host::VirtualHost;
use crate::table::opaque::{Carriage, OpaqueRoute, OpaqueRule};

/// Frontend, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PieceKey {
    pub(super) frontend: Frontend,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Where connections to one port of a service go.
#[derive(Debug)]
pub(super) struct Piece {
    basis: Basis,
    /// What is spoken there.
    spoken: Spoken,
    /// What resources say.
    rules: Vec<OpaqueRule>,
    /// To the service itself.
    own: Arc<OpaqueRoute>,
    /// The hosts by HTTP of the listener below.
    http: Option<Arc<VirtualHost>>,
    /// The listener that stands for the addresses of the service, if it has any.
    pub(super) listener: Option<Arc<Listener>>,
}

/// A port of a service to make a piece for.
pub(super) struct Offer<'o> {
    /// The completed name of the host.
    pub(super) host: &'o str,
    pub(super) service: &'o Arc<Service>,
    pub(super) port: u16,
    pub(super) spoken: Spoken,
    /// Resources that may govern it, the one that takes precedence first.
    pub(super) routes: &'o [Arc<Routes>],
}

// === impl Plan ===

impl Plan<'_> {
    /// The piece of a port, from the generation before if it would be the same again. `listener` makes
    /// the listener that stands for the addresses of the service with `http` as its hosts.
    pub(super) fn piece(
        &mut self,
        frontend: &Frontend,
        offer: &Offer<'_>,
        http: Option<&Arc<VirtualHost>>,
        listener: Option<impl FnOnce(&[OpaqueRule]) -> Listener>,
    ) -> Arc<Piece> {
        let key = PieceKey {
            frontend: frontend.clone(),
            host: offer.host.to_owned(),
            port: offer.port,
        };
        let own = self.registry.host_of(self.mesh, offer.host, offer.service);
        let before = self.before.pieces.get(&key).filter(|piece| {
            let basis = &piece.basis;
            piece.spoken == offer.spoken
                && piece.http.as_ref().map(Arc::as_ptr) == http.map(Arc::as_ptr)
                && piece.listener.is_some() == listener.is_some()
                && basis.is_made_of(offer.routes, Some(&own))
                && basis.leads_to_the_same(self.mesh, frontend.view(), self.registry)
        });
        let piece = match before {
            Some(piece) => {
                self.registry.use_again(&piece.basis.uses);
                Arc::clone(piece)
            }
            None => {
                let mut piece = self.compile_piece(frontend, offer, own);
                piece.http = http.cloned();
                piece.listener = listener.map(|make| Arc::new(make(&piece.whole())));
                Arc::new(piece)
            }
        };
        self.made.pieces.insert(key, Arc::clone(&piece));
        piece
    }

    /// The same where no address says that the service is meant.
    pub(super) fn piece_without_address(
        &mut self,
        frontend: &Frontend,
        offer: &Offer<'_>,
    ) -> Arc<Piece> {
        self.piece(frontend, offer, None, None::<fn(&[OpaqueRule]) -> Listener>)
    }

    fn compile_piece(&mut self, frontend: &Frontend, offer: &Offer<'_>, own: Arc<Host>) -> Piece {
        let mut compiler = self.rule_compiler(frontend);
        let mut rules = Vec::new();
        for routes in offer.routes {
            rules.extend(compiler.opaque_rules(routes, offer.port, offer.spoken));
        }
        let split = compiler.own_split(&own, offer.port);
        let uses = compiler.uses;
        let names = offer.routes.iter().flat_map(|it| it.destination_hosts());
        let names = names.map(str::to_owned).collect();
        Piece {
            basis: Basis {
                routes: sources(offer.routes),
                own: Some(own),
                destinations: self.destinations(frontend.view(), names),
                uses,
            },
            spoken: offer.spoken,
            rules,
            own: Arc::new(OpaqueRoute {
                origin: None,
                position: 0,
                port: offer.port,
                split,
                carriage: Carriage::ByPolicy,
            }),
            http: None,
            listener: None,
        }
    }
}

// === impl Piece ===

impl Piece {
    /// The rules for whatever comes to the service, whose address says that it is meant.
    pub(super) fn whole(&self) -> Vec<OpaqueRule> {
        let own = OpaqueRule::always(Arc::clone(&self.own));
        self.rules.iter().cloned().chain([own]).collect()
    }

    /// The rules for what names the host in TLS, where no address says who is meant.
    pub(super) fn by_name(&self, host: &str) -> Vec<OpaqueRule> {
        let narrowed = |rule: &OpaqueRule| {
            let names = rule.names.iter();
            let names: Box<[Box<str>]> = names
                .filter_map(|name| intersect(name, host))
                .map(Box::from)
                .collect();
            (!names.is_empty()).then(|| OpaqueRule {
                names,
                ..rule.clone()
            })
        };
        let own = OpaqueRule {
            names: [host.into()].into(),
            ..OpaqueRule::always(Arc::clone(&self.own))
        };
        let rules = self.rules.iter().filter_map(narrowed);
        rules.chain([own]).collect()
    }
}

// === impl RuleCompiler ===

impl RuleCompiler<'_> {
    /// The rules of one `VirtualService` for connections to `port`: those of `tls` where TLS is spoken
    /// that is not ours to end, else those of `tcp`.
    pub(super) fn opaque_rules(
        &mut self,
        routes: &Routes,
        port: u16,
        spoken: Spoken,
    ) -> Vec<OpaqueRule> {
        match spoken {
            Spoken::Https | Spoken::Tls => self.tls_rules(routes, port),
            Spoken::Tcp | Spoken::Mongo | Spoken::Redis | Spoken::Mysql | Spoken::Auto => {
                self.tcp_rules(routes, port)
            }
            Spoken::Http | Spoken::Http2 | Spoken::Grpc | Spoken::GrpcWeb => Vec::new(),
        }
    }

    pub(super) fn tls_rules(&mut self, routes: &Routes, port: u16) -> Vec<OpaqueRule> {
        let mut rules = Vec::new();
        for (position, rule) in (0_u32..).zip(&routes.spec.tls) {
            let blocks = rule.matches.iter();
            let mut blocks = blocks.filter(|it| self.takes_tls(it, port)).peekable();
            if blocks.peek().is_none() {
                continue;
            }
            let blocks: Vec<&TlsMatch> = blocks.collect();
            let route = self.opaque_route(routes, position, port, &rule.route);
            rules.extend(blocks.into_iter().filter_map(|block| {
                let names = names(block, routes);
                (!names.is_empty()).then_some(OpaqueRule {
                    names,
                    destinations: networks(&block.destination_subnets)?,
                    sources: Box::default(),
                    route: Arc::clone(&route),
                })
            }));
        }
        rules
    }

    pub(super) fn tcp_rules(&mut self, routes: &Routes, port: u16) -> Vec<OpaqueRule> {
        let everything = [L4Match::default()];
        let mut rules = Vec::new();
        for (position, rule) in (0_u32..).zip(&routes.spec.tcp) {
            let blocks = match &*rule.matches {
                [] => &everything,
                written => written,
            };
            let blocks: Vec<&L4Match> = blocks
                .iter()
                .filter(|it| self.takes_tcp(it, port))
                .collect();
            if blocks.is_empty() {
                continue;
            }
            let route = self.opaque_route(routes, position, port, &rule.route);
            rules.extend(blocks.into_iter().filter_map(|block| {
                Some(OpaqueRule {
                    names: Box::default(),
                    destinations: networks(&block.destination_subnets)?,
                    sources: networks(block.source_subnet.as_slice())?,
                    route: Arc::clone(&route),
                })
            }));
        }
        rules
    }

    fn opaque_route(
        &mut self,
        routes: &Routes,
        position: u32,
        port: u16,
        written: &[RouteDestination],
    ) -> Arc<OpaqueRoute> {
        Arc::new(OpaqueRoute {
            origin: routes.sources.first().cloned(),
            position,
            port,
            split: self.opaque_split(written),
            carriage: Carriage::ByPolicy,
        })
    }

    /// Whether the conditions hold that are the same for all connections of this proxy to a port.
    fn takes_tls(&self, block: &TlsMatch, port: u16) -> bool {
        let namespace = block.source_namespace.as_deref();
        let wants = self.wants_others(&block.gateways, &block.source_labels, namespace);
        wants.is_none() && is_for(block.port, port)
    }

    fn takes_tcp(&self, block: &L4Match, port: u16) -> bool {
        let namespace = block.source_namespace.as_deref();
        let wants = self.wants_others(&block.gateways, &block.source_labels, namespace);
        wants.is_none() && is_for(block.port, port)
    }
}

fn is_for(written: Option<u32>, port: u16) -> bool {
    written.is_none_or(|written| written == 0 || written == u32::from(port))
}

/// The names of a block, as far as they lie within the hosts that are served.
fn names(block: &TlsMatch, routes: &Routes) -> Box<[Box<str>]> {
    let names = block.sni_hosts.iter();
    let within = names.flat_map(|name| {
        let hosts = routes.hosts.iter();
        hosts.filter_map(move |host| intersect(name, host))
    });
    within.map(Box::from).collect()
}

/// Networks as written; none if one of them is no network, so that a condition that cannot be
/// understood is one that nothing meets.
fn networks(written: &[String]) -> Option<Box<[IpBlock]>> {
    let written = written.iter().filter(|text| !text.is_empty());
    written.map(|text| text.parse().ok()).collect()
}

/// Resources with rules for connections, by the hosts that they are for.
pub(super) struct Governing<'r> {
    by_host: FxHashMap<&'r str, Vec<usize>>,
    wildcards: Vec<usize>,
    /// In the order of precedence.
    routes: Vec<&'r Arc<Routes>>,
}

// === impl Governing ===

impl<'r> Governing<'r> {
    pub(super) fn new(routes: &'r [Arc<Routes>]) -> Self {
        let opaque = |it: &&Arc<Routes>| !it.spec.tls.is_empty() || !it.spec.tcp.is_empty();
        let mut index = Self {
            by_host: FxHashMap::default(),
            wildcards: Vec::new(),
            routes: routes.iter().filter(opaque).collect(),
        };
        for (at, routes) in index.routes.iter().enumerate() {
            for host in &routes.hosts {
                match host.starts_with('*') {
                    true => index.wildcards.push(at),
                    false => index.by_host.entry(host).or_default().push(at),
                }
            }
        }
        index
    }

    /// Those for a host, and for names that it stands for, in the order of precedence.
    pub(super) fn of(&self, host: &str) -> Vec<Arc<Routes>> {
        let meets = |at: &usize| {
            let mut hosts = self.routes[*at].hosts.iter();
            hosts.any(|pattern| intersect(pattern, host).is_some())
        };
        let mut found: Vec<usize> = match host.starts_with('*') {
            true => (0..self.routes.len()).filter(meets).collect(),
            false => {
                let exact = self.by_host.get(host).into_iter().flatten();
                let wild = self.wildcards.iter().filter(|at| meets(at));
                exact.chain(wild).copied().collect()
            }
        };
        found.sort_unstable();
        found.dedup();
        let found = found.into_iter().map(|at| Arc::clone(self.routes[at]));
        found.collect()
    }
}
