//! Who may ask: where we listen on loopback alone, only this host.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustc_hash::FxHashMap;

/// Addresses of which is remembered whether they are this host's.
const KNOWN_MAX: usize = 64;

/// Who may ask at one address.
#[derive(Debug)]
pub(super) enum Peers {
    /// Whoever reaches it: it was made reachable on purpose.
    All,
    /// This host alone.
    Own(RefCell<FxHashMap<IpAddr, bool>>),
}

// === impl Peers ===

impl Peers {
    /// Those of a server that listens at an address.
    pub(super) fn of(listening: IpAddr) -> Self {
        match listening.is_loopback() {
            true => Self::Own(RefCell::default()),
            false => Self::All,
        }
    }

    /// Whether a peer may ask. What is captured comes to loopback from any address of this host.
    pub(super) fn admit(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let Self::Own(known) = self else {
            return true;
        };
        if ip.is_loopback() {
            return true;
        }
        let mut known = known.borrow_mut();
        if let Some(own) = known.get(&ip) {
            return *own;
        }
        // Where the host cannot say it, for want of a descriptor, it is asked again the next time.
        let Some(own) = is_own(peer) else {
            return true;
        };
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(ip, own);
        own
    }
}

/// Whether an address is one of this host's: nobody can have a socket at another's. None if that cannot be
/// told.
fn is_own(mut address: SocketAddr) -> Option<bool> {
    address.set_ip(address.ip().to_canonical());
    address.set_port(0);
    match UdpSocket::bind(address) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(ip(text), 53)
    }

    #[test]
    fn on_loopback_only_this_host_may_ask() {
        let peers = Peers::of(ip("127.0.0.1"));

        assert!(peers.admit(at("127.0.0.1")));
        assert!(peers.admit(at("127.8.8.8")));
        assert!(peers.admit(at("::ffff:127.0.0.1")));
        for _ in 0..2 {
            assert!(!peers.admit(at("203.0.113.1")));
            assert!(!peers.admit(at("2001:db8::1")));
        }
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let peers = Peers::of(ip("127.0.0.1"));

        for last in 0..=255 {
            assert!(!peers.admit(SocketAddr::from(([203, 0, 113, last], 53))));
        }

        let Peers::Own(known) = peers else {
            panic!("loopback is for this host");
        };
        assert!(known.borrow().len() <= KNOWN_MAX);
    }

    #[test]
    fn elsewhere_everybody_may() {
        assert!(Peers::of(ip("0.0.0.0")).admit(at("203.0.113.1")));
    }
}
