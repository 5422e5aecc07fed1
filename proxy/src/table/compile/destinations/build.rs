//! One destination of the generation: its policy, its balancer and its endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use config::mesh::{Address, EffectivePolicy, Endpoint as Written, Protocol as Spoken, Resolution};
use config::resource::destination_rule::{ClientTls, SimpleLb};
use rustc_hash::{FxHashMap, FxHashSet};

use super::channel::Built;
use super::host::Host;
use super::{BLACK_HOLE, Blueprint, INBOUND_PASSTHROUGH, PASSTHROUGH, Registry, Workload};
use crate::table::compile::budget::{retry_limit, window};
use crate::table::compile::{balance, outlier, policy};
use crate::telemetry::labels::{Reporter, Traffic, TrafficId};
use crate::tls::client::Channel;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, DestinationKey, Live, Policy, Protocol};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};
use crate::upstream::original::{Originals, Strangers};

/// What a destination is put together from.
struct Parts {
    /// Labels of traffic that finds no endpoint.
    traffic: TrafficId,
    policy: Policy,
    balancer: Balancer,
    originals: Option<Originals>,
}

// === impl Parts ===

impl Parts {
    /// Without endpoints.
    fn nowhere(traffic: TrafficId, policy: Policy) -> Self {
        Self {
            traffic,
            policy,
            balancer: Balancer::least_request(Vec::new()),
            originals: None,
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Builds a destination; endpoints whose address it had before stay the same objects.
    pub(super) fn destination(
        &self,
        key: &DestinationKey,
        blueprint: &Blueprint,
        before: Option<&Destination>,
    ) -> Destination {
        let live = before.map_or_else(Arc::<Live>::default, |before| Arc::clone(&before.live));
        let known: FxHashMap<&EndpointAddr, &Arc<Endpoint>> = before
            .iter()
            .flat_map(|before| before.members())
            .map(|member| (&member.endpoint.addr, &member.endpoint))
            .collect();
        let endpoint = |addr: EndpointAddr| match known.get(&addr) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(Endpoint::new(addr)),
        };
        let built = match blueprint {
            Blueprint::Workload(workload) => self.to_workload(key, workload, endpoint),
            Blueprint::Beyond => {
                let traffic = self.traffic_to(PASSTHROUGH);
                let originals = Originals::of_any(Strangers {
                    traffic,
                    channel: Channel::Plain,
                });
                Parts {
                    originals: Some(originals),
                    ..Parts::nowhere(traffic, Policy::beyond())
                }
            }
            Blueprint::BlackHole => Parts::nowhere(self.traffic_to(BLACK_HOLE), Policy::default()),
            Blueprint::Host(host) => {
                let built = Built {
                    means: &self.current.means,
                    host,
                    key,
                    before,
                };
                self.to_host(&built, &live, endpoint)
            }
        };
        let Parts {
            traffic,
            policy,
            balancer,
            originals,
        } = built;
        live.breaker
            .limit_connections(policy.thresholds.connections);
        if policy.outlier.is_some() {
            live.ejections.prepare();
        }
        Destination {
            window: window(policy.retries.interval(), before),
            originals: originals.map(Arc::new),
            key: key.clone(),
            policy,
            balancer,
            traffic,
            rule: blueprint.rule(),
            live,
        }
    }

    /// Labels of what is no service.
    fn traffic_to(&self, cluster: &str) -> TrafficId {
        let traffic = Traffic::to_cluster(cluster);
        self.metrics.intern(Reporter::Source, traffic)
    }

    fn to_workload(
        &self,
        key: &DestinationKey,
        workload: &Workload,
        endpoint: impl Fn(EndpointAddr) -> Arc<Endpoint>,
    ) -> Parts {
        let service = match &workload.service {
            Some((host, namespace)) => Traffic::to_service(host, namespace),
            None if key.port == 0 => Traffic::to_cluster(INBOUND_PASSTHROUGH),
            None => Traffic::unknown(),
        };
        let traffic = service.with_identity(&self.perspective.identity);
        let traffic = self.metrics.intern(Reporter::Destination, traffic);
        let mut policy = policy::compile(workload.spoken, workload.pool.clone());
        policy.protocol = workload_protocol(workload.spoken);
        policy.from_own = workload.from_own;
        let Some(addr) = &workload.addr else {
            let strangers = Strangers {
                traffic,
                channel: Channel::Plain,
            };
            return Parts {
                originals: Some(Originals::of_any(strangers)),
                ..Parts::nowhere(traffic, policy)
            };
        };
        let only = Member {
            endpoint: endpoint(addr.clone()),
            weight: 1,
            traffic,
            locality: None,
            channel: Channel::Plain,
        };
        Parts {
            traffic,
            policy,
            balancer: Balancer::least_request(vec![only]),
            originals: None,
        }
    }

    fn to_host(
        &self,
        built: &Built<'_>,
        live: &Live,
        endpoint: impl Fn(EndpointAddr) -> Arc<Endpoint>,
    ) -> Parts {
        let (host, key) = (built.host, built.key);
        let service = Traffic::to_service(&host.name, &host.service.namespace);
        let traffic = self.metrics.intern(Reporter::Source, service.clone());
        let (mut members, written) = self.members(host, key, &service, endpoint);
        let effective = host.policy.policy(subset(key), key.port);
        secure(built, effective.tls.as_ref(), &mut members, &written);
        let originals = originals(built, &effective, &members, traffic);
        let here = self.perspective.here();
        let checks = outlier::has_checks(&host.policy);
        let layout = balance::layout(&written, &effective, checks, &here);
        let terms = balance::terms(&effective);
        let balancer = Balancer::new(members, layout, terms, live);
        let retries = retry_limit(&effective);
        let spoken = host.service.port(key.port).map(|port| port.protocol);
        let pool = effective.connection_pool.unwrap_or_default();
        let mut policy = policy::compile(spoken, pool);
        policy.proxy_protocol = effective
            .proxy_protocol
            .as_ref()
            .map(policy::proxy_protocol);
        policy.retries = retries;
        let detection = |written| Box::new(outlier::detection(written, &host.policy));
        policy.outlier = effective.outlier_detection.as_ref().map(detection);
        policy.check = outlier::check(&host.policy, key, policy.protocol);
        Parts {
            traffic,
            policy,
            balancer,
            originals,
        }
    }

    /// The members, and for each the endpoint as written.
    fn members<'h>(
        &self,
        host: &'h Host,
        key: &DestinationKey,
        service: &Traffic,
        endpoint: impl Fn(EndpointAddr) -> Arc<Endpoint>,
    ) -> (Vec<Member>, Vec<&'h Written>) {
        let mut members = (Vec::new(), Vec::new());
        let mut seen = FxHashSet::default();
        for written in host.endpoints(subset(key)) {
            let traffic = self.traffic(service, written, &host.service.namespace);
            let locality = written.locality.as_deref().map(Arc::<str>::from);
            let addrs = self.addrs(host, written, key.port);
            for addr in addrs.into_iter().filter(|addr| seen.insert(addr.clone())) {
                members.0.push(Member {
                    endpoint: endpoint(addr),
                    weight: written.weight,
                    traffic,
                    locality: locality.clone(),
                    channel: Channel::Plain,
                });
                members.1.push(written);
            }
        }
        members
    }

    fn traffic(&self, service: &Traffic, written: &Written, namespace: &str) -> TrafficId {
        let workload = written.workload.as_deref();
        let cluster = &self.perspective.cluster;
        let traffic = service
            .clone()
            .with_endpoint(&written.labels, workload, namespace, cluster);
        self.metrics.intern(Reporter::Source, traffic)
    }

    fn addrs(&self, host: &Host, written: &Written, port: u16) -> Vec<EndpointAddr> {
        // An endpoint without the port does not serve it: one of several entries for a host, or a
        // pod without the named port.
        let target = written.ports.get(port);
        match (&written.address, target) {
            (Address::Unix(path), _) => vec![EndpointAddr::Unix(path.clone())],
            (Address::Ip(_) | Address::Name(_), None) => Vec::new(),
            (Address::Ip(ip), Some(target)) => {
                vec![EndpointAddr::Tcp(SocketAddr::new(*ip, target))]
            }
            (Address::Name(name), Some(target)) => {
                let addrs = self
                    .resolved
                    .get(&**name)
                    .map(|addrs| &**addrs)
                    .unwrap_or_default();
                let count = match host.service.resolution {
                    Resolution::DnsRoundRobin => 1,
                    _ => addrs.len(),
                };
                let addrs = addrs.iter().take(count);
                addrs
                    .map(|ip| EndpointAddr::Tcp(SocketAddr::new(*ip, target)))
                    .collect()
            }
        }
    }
}

/// Whether a host is reached at the address that the caller asked for, and how.
///
/// Callers of a headless service choose the endpoint by its address, as they would without us. Any
/// address is reached where the registry knows none, or a rule wants it so: those that are no endpoints
/// are spoken to as the rule asks, else as all endpoints take it.
fn originals(
    built: &Built<'_>,
    effective: &EffectivePolicy,
    members: &[Member],
    traffic: TrafficId,
) -> Option<Originals> {
    let service = &built.host.service;
    let balancing = effective.load_balancer.as_ref();
    let passes = balancing.and_then(|it| it.simple) == Some(SimpleLb::Passthrough);
    if !passes && service.resolution != Resolution::OriginalDestination {
        return service.headless.then(Originals::of_endpoints);
    }
    let channel = match (&effective.tls, members) {
        (Some(tls), _) => built.channel(tls),
        (None, [first, others @ ..])
            if others
                .iter()
                .all(|it| it.channel.id() == first.channel.id()) =>
        {
            first.channel.clone()
        }
        (None, _) => Channel::Plain,
    };
    Some(Originals::of_any(Strangers { traffic, channel }))
}

/// Says how the members are spoken to: as the rule asks, and where it says nothing in mutual TLS to
/// those that take it.
fn secure(
    built: &Built<'_>,
    tls: Option<&ClientTls>,
    members: &mut [Member],
    written: &[&Written],
) {
    if let Some(tls) = tls {
        let channel = built.channel(tls);
        members
            .iter_mut()
            .for_each(|it| it.channel = channel.clone());
        return;
    }
    let mut of_mesh = None;
    for (member, written) in members.iter_mut().zip(written) {
        let target = written.ports.get(built.key.port);
        if target.is_some_and(|port| built.host.takes_mutual_tls(written, port)) {
            let channel = of_mesh.get_or_insert_with(|| built.channel_of_mesh());
            member.channel = channel.clone();
        }
    }
}

/// What the workload speaks: what the port is said to, else what comes.
fn workload_protocol(spoken: Option<Spoken>) -> Protocol {
    match spoken {
        Some(Spoken::Http2 | Spoken::Grpc) => Protocol::Http2,
        Some(Spoken::Auto) | None => Protocol::AsDownstream,
        Some(Spoken::Http | Spoken::GrpcWeb | Spoken::Https | Spoken::Tls) => Protocol::Http1,
        Some(Spoken::Tcp | Spoken::Mongo | Spoken::Redis | Spoken::Mysql) => Protocol::Http1,
    }
}

fn subset(key: &DestinationKey) -> Option<&str> {
    (!key.subset.is_empty()).then_some(&*key.subset)
}
