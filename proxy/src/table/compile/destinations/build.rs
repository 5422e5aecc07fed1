//! One destination of the generation: its policy, its balancer and its endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use config::mesh::{Address, Endpoint as Written, Resolution};
use config::resource::destination_rule::ClientTls;
use rustc_hash::{FxHashMap, FxHashSet};

use super::channel::Built;
use super::host::Host;
use super::{Blueprint, Registry, Workload};
use crate::table::compile::budget::{retry_limit, window};
use crate::table::compile::{balance, outlier, policy};
use crate::telemetry::labels::{Reporter, Traffic, TrafficId};
use crate::tls::client::Channel;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, DestinationKey, Live, Policy};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};
use crate::upstream::original::Originals;

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
        let mut originals = None;
        let (traffic, policy, balancer) = match blueprint {
            Blueprint::Workload(workload) => {
                let (traffic, policy, balancer) = self.to_workload(workload, endpoint);
                if workload.addr.is_none() {
                    originals = Some(Originals::new(traffic));
                }
                (traffic, policy, balancer)
            }
            Blueprint::Beyond => {
                let traffic = self
                    .metrics
                    .intern(Reporter::Source, Traffic::passthrough());
                originals = Some(Originals::new(traffic));
                let nobody = Balancer::least_request(Vec::new());
                (traffic, Policy::beyond(), nobody)
            }
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

    fn to_workload(
        &self,
        workload: &Workload,
        endpoint: impl Fn(EndpointAddr) -> Arc<Endpoint>,
    ) -> (TrafficId, Policy, Balancer) {
        let service = workload.service.as_ref();
        let service = service.map_or_else(Traffic::unknown, |(host, namespace)| {
            Traffic::to_service(host, namespace)
        });
        let traffic = service.with_identity(&self.perspective.identity);
        let traffic = self.metrics.intern(Reporter::Destination, traffic);
        let policy = Policy {
            protocol: workload.protocol,
            ..Policy::default()
        };
        let only = workload.addr.as_ref().map(|addr| Member {
            endpoint: endpoint(addr.clone()),
            weight: 1,
            traffic,
            locality: None,
            channel: Channel::Plain,
        });
        let members = only.into_iter().collect();
        (traffic, policy, Balancer::least_request(members))
    }

    fn to_host(
        &self,
        built: &Built<'_>,
        live: &Live,
        endpoint: impl Fn(EndpointAddr) -> Arc<Endpoint>,
    ) -> (TrafficId, Policy, Balancer) {
        let (host, key) = (built.host, built.key);
        let service = Traffic::to_service(&host.name, &host.service.namespace);
        let traffic = self.metrics.intern(Reporter::Source, service.clone());
        let (mut members, written) = self.members(host, key, &service, endpoint);
        let effective = host.policy.policy(subset(key), key.port);
        secure(built, effective.tls.as_ref(), &mut members, &written);
        let here = self.perspective.here();
        let checks = outlier::has_checks(&host.policy);
        let layout = balance::layout(&written, &effective, checks, &here);
        let terms = balance::terms(&effective);
        let balancer = Balancer::new(members, layout, terms, live);
        let retries = retry_limit(&effective);
        let spoken = host.service.port(key.port).map(|port| port.protocol);
        let pool = effective.connection_pool.unwrap_or_default();
        let mut policy = policy::compile(spoken, pool);
        policy.retries = retries;
        let detection = |written| Box::new(outlier::detection(written, &host.policy));
        policy.outlier = effective.outlier_detection.as_ref().map(detection);
        policy.check = outlier::check(&host.policy, key, policy.protocol);
        (traffic, policy, balancer)
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

fn subset(key: &DestinationKey) -> Option<&str> {
    (!key.subset.is_empty()).then_some(&*key.subset)
}
