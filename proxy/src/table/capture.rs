//! What becomes of captured connections, by the address that their callers asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use config::ip_block::IpBlock;
use rustc_hash::FxHashMap;

use crate::table::Listener;

/// The listeners behind one that takes captured connections. They are bound nowhere: an address only
/// says what a connection to it meets.
#[derive(Debug)]
pub struct Captured {
    /// By address and port: services with addresses of their own.
    pub exact: FxHashMap<SocketAddr, Arc<Listener>>,
    /// By network and port, the longest prefix first: services whose addresses are networks.
    pub networks: Box<[(IpBlock, u16, Arc<Listener>)]>,
    /// By port alone, whatever the address: where HTTP says which host is meant.
    pub ports: FxHashMap<u16, Arc<Listener>>,
    /// All others.
    pub rest: Arc<Listener>,
}

// === impl Captured ===

impl Captured {
    /// Without anything that is known of an address.
    pub fn new(rest: Arc<Listener>) -> Self {
        Self {
            exact: FxHashMap::default(),
            networks: Box::default(),
            ports: FxHashMap::default(),
            rest,
        }
    }

    /// What a connection to `addr` meets.
    pub fn find(&self, addr: SocketAddr) -> &Arc<Listener> {
        if let Some(found) = self.exact.get(&addr) {
            return found;
        }
        let (ip, port) = (addr.ip(), addr.port());
        let mut networks = self.networks.iter();
        if let Some((.., found)) = networks.find(|(net, at, _)| *at == port && net.contains(ip)) {
            return found;
        }
        self.ports.get(&port).unwrap_or(&self.rest)
    }

    /// Every listener, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let networks = self.networks.iter().map(|(.., listener)| listener);
        let known = self
            .exact
            .values()
            .chain(networks)
            .chain(self.ports.values());
        known.chain([&self.rest])
    }
}

#[cfg(test)]
mod tests;
