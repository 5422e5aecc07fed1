//! What becomes of captured connections, by the address that their callers asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use config::ip_block::IpBlock;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::table::Listener;

/// The listeners behind one that takes captured connections. They are bound nowhere: an address only
/// says what a connection to it meets.
#[derive(Debug)]
pub struct Captured {
    /// By address and port: services with addresses of their own.
    pub exact: FxHashMap<SocketAddr, Arc<Listener>>,
    /// By port and network, the longest prefix first: services whose addresses are networks.
    pub networks: FxHashMap<u16, Box<[Network]>>,
    /// By port alone, whatever the address: where HTTP says which host is meant.
    pub ports: FxHashMap<u16, Arc<Listener>>,
    /// All others.
    pub rest: Arc<Listener>,
}

/// A network that a listener stands for.
#[derive(Debug)]
pub struct Network {
    /// Its addresses.
    pub block: IpBlock,
    /// What connections to one of them meet.
    pub listener: Arc<Listener>,
}

// === impl Captured ===

impl Captured {
    /// Without anything that is known of an address.
    pub fn new(rest: Arc<Listener>) -> Self {
        Self {
            exact: FxHashMap::default(),
            networks: FxHashMap::default(),
            ports: FxHashMap::default(),
            rest,
        }
    }

    /// Whether somebody has `addr`, and not only a network, a port, or everything.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        self.exact.contains_key(&addr)
    }

    /// What a connection to `addr` meets.
    pub fn find(&self, addr: SocketAddr) -> &Arc<Listener> {
        let (ip, port) = (addr.ip().to_canonical(), addr.port());
        if let Some(found) = self.exact.get(&SocketAddr::new(ip, port)) {
            return found;
        }
        let networks = self.networks.get(&port).map_or(&[][..], |it| &**it);
        if let Some(found) = networks.iter().find(|it| it.block.contains(ip)) {
            return &found.listener;
        }
        self.ports.get(&port).unwrap_or(&self.rest)
    }

    /// Every listener with all that it stands for, in the order of what comes first of it.
    pub(crate) fn stands(&self) -> Vec<(&Arc<Listener>, Vec<String>)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(addr, listener)| (listener, addr.to_string()));
        let networks = self.networks.iter().flat_map(|(port, networks)| {
            let networks = networks.iter();
            networks.map(move |it| (&it.listener, format!("{} port {port}", it.block)))
        });
        let ports = self.ports.iter();
        let ports = ports.map(|(port, listener)| (listener, format!("port {port}")));
        let mut by_listener: FxHashMap<*const Listener, (&Arc<Listener>, Vec<String>)> =
            FxHashMap::default();
        for (listener, place) in exact.chain(networks).chain(ports) {
            let stands = by_listener.entry(Arc::as_ptr(listener));
            stands.or_insert((listener, Vec::new())).1.push(place);
        }
        let mut stands: Vec<_> = by_listener.into_values().collect();
        stands
            .iter_mut()
            .for_each(|(_, places)| places.sort_unstable());
        stands.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        stands.push((&self.rest, vec!["everything else".to_owned()]));
        stands
    }

    /// Every listener once, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let networks = self.networks.values().flat_map(|it| it.iter());
        let networks = networks.map(|network| &network.listener);
        let exact = self.exact.values();
        let all = exact.chain(networks).chain(self.ports.values());
        let mut seen = FxHashSet::default();
        all.chain([&self.rest])
            .filter(move |listener| seen.insert(Arc::as_ptr(listener)))
    }
}

#[cfg(test)]
mod tests;
