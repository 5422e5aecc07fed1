//! Who may ask: where we listen on loopback alone, only this host.

use std::cell::RefCell;
use std::net::{IpAddr, UdpSocket};

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
    pub(super) fn admit(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        match self {
            Self::All => true,
            Self::Own(_) if peer.is_loopback() => true,
            Self::Own(known) => {
                let mut known = known.borrow_mut();
                if known.len() >= KNOWN_MAX && !known.contains_key(&peer) {
                    known.clear();
                }
                *known.entry(peer).or_insert_with(|| is_own(peer))
            }
        }
    }
}

/// Whether an address is one of this host's: nobody can have a socket at another's.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn on_loopback_only_this_host_may_ask() {
        let peers = Peers::of(ip("127.0.0.1"));

        assert!(peers.admit(ip("127.0.0.1")));
        assert!(peers.admit(ip("127.8.8.8")));
        assert!(peers.admit(ip("::ffff:127.0.0.1")));
        for _ in 0..2 {
            assert!(!peers.admit(ip("203.0.113.1")));
            assert!(!peers.admit(ip("2001:db8::1")));
        }
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let peers = Peers::of(ip("127.0.0.1"));

        for last in 0..=255 {
            assert!(!peers.admit(IpAddr::from([203, 0, 113, last])));
        }

        let Peers::Own(known) = peers else {
            panic!("loopback is for this host");
        };
        assert!(known.borrow().len() <= KNOWN_MAX);
    }

    #[test]
    fn elsewhere_everybody_may() {
        assert!(Peers::of(ip("0.0.0.0")).admit(ip("203.0.113.1")));
    }
}
