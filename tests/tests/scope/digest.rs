//! What a table says, without what differs between two compilers that say the same.

use std::net::SocketAddr;
use std::sync::Arc;

use proxy::table::compile;
use proxy::table::host::VirtualHost;
use proxy::table::opaque::ConnectionView;
use proxy::table::{Direction, Listener};
use proxy::upstream::destination::Destination;

/// How numbers of destinations are shown.
const NUMBER: &str = "DestinationId(";

/// A compiled mesh.
pub(crate) struct Compiled(compile::Compiled);

// === impl Compiled ===

impl Compiled {
    pub(crate) fn new(compiled: compile::Compiled) -> Self {
        Self(compiled)
    }

    /// What becomes of requests for a host at the outbound listener; none if it is not known.
    pub(crate) fn host(&self, name: &str) -> Option<String> {
        let listener = self.listener(Direction::Outbound)?;
        listener
            .hosts
            .find(name)
            .map(|host| self.virtual_host(host))
    }

    /// Hosts of the outbound listener that are known by their names.
    pub(crate) fn exact_hosts(&self) -> Vec<String> {
        let listener = self.listener(Direction::Outbound);
        let hosts = listener.iter().flat_map(|it| it.hosts.iter());
        let names = hosts.map(|(name, _)| name);
        names.filter(|name| !name.starts_with('*')).collect()
    }

    /// Where captured connections to an address go that are neither HTTP nor TLS.
    pub(crate) fn opaque_at(&self, address: SocketAddr) -> Option<String> {
        let mut listeners = self.0.table.listeners.iter();
        let captured = listeners.find_map(|it| it.captured.as_ref())?;
        let route = captured.find(address).opaque.find(ConnectionView {
            server_name: None,
            destination: Some(address.ip()),
            source: None,
        });
        route.map(|route| self.told(&format!("{route:?}")))
    }

    /// Every host of every gateway listener.
    pub(crate) fn gateways(&self) -> Vec<String> {
        let listeners = self.0.table.listeners.iter();
        let gateways = listeners.filter(|it| it.direction == Direction::Gateway);
        let hosts = gateways.flat_map(|listener| {
            let hosts = listener.hosts.iter();
            hosts.map(|(name, host)| {
                format!("{:?} {name} {}", listener.bind, self.virtual_host(host))
            })
        });
        let mut hosts: Vec<String> = hosts.collect();
        hosts.sort();
        hosts
    }

    fn listener(&self, direction: Direction) -> Option<&Arc<Listener>> {
        let mut listeners = self.0.table.listeners.iter();
        listeners.find(|it| it.direction == direction)
    }

    fn virtual_host(&self, host: &VirtualHost) -> String {
        let rules: Vec<_> = host.rules.iter().collect();
        self.told(&format!("{} {:?} {rules:#?}", host.name, host.ports))
    }

    /// A text with destinations in place of their numbers.
    fn told(&self, text: &str) -> String {
        let mut parts = text.split(NUMBER);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(')').unwrap_or_default();
            let number: String = part[..end].chars().filter(char::is_ascii_digit).collect();
            let number: usize = number.parse().expect("a number");
            let destination = self.0.destinations.0[number].as_ref();
            told += &destination.map(|it| said(it)).unwrap_or_default();
            told += &part[end + 1..];
        }
        told
    }
}

fn said(destination: &Destination) -> String {
    let members = destination.balancer.members().iter();
    let members: Vec<String> = members
        .map(|it| format!("{:?} {} {:?}", it.endpoint.addr, it.weight, it.locality))
        .collect();
    let Destination {
        key, policy, rule, ..
    } = destination;
    format!("{key:?} {policy:?} {rule:?} {members:?}")
}
