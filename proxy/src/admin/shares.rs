//! How many of a server's connections one peer may have, so that others find room.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Most connections of one address at a time; loopback, where everything of this host comes from, may have
/// all there are.
const SHARE: usize = 16;
/// Most addresses that are remembered while they have no connection.
const RESTING_MAX: usize = 64;

/// The connections of a server, by the address of their peer.
#[derive(Debug, Default)]
pub(super) struct Shares(FxHashMap<IpAddr, Arc<()>>);

/// One connection of a peer, until dropped.
#[derive(Debug)]
pub(super) struct Share {
    _held: Option<Arc<()>>,
}

// === impl Shares ===

impl Shares {
    /// Enters a connection; none if its peer has as many as it may.
    pub(super) fn enter(&mut self, peer: IpAddr) -> Option<Share> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Some(Share { _held: None });
        }
        if self.0.len() >= RESTING_MAX {
            self.0.retain(|_, known| Arc::strong_count(known) > 1);
        }
        let known = self.0.entry(peer).or_default();
        let is_free = Arc::strong_count(known) <= SHARE;
        is_free.then(|| Share {
            _held: Some(Arc::clone(known)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let mut shares = Shares::default();
        let mut held: Vec<_> = (0..SHARE).map(|_| shares.enter(ip("192.0.2.1"))).collect();
        assert!(held.iter().all(Option::is_some));

        assert!(shares.enter(ip("192.0.2.1")).is_none());
        assert!(shares.enter(ip("::ffff:192.0.2.1")).is_none());
        assert!(shares.enter(ip("192.0.2.2")).is_some());
        held.pop();
        assert!(shares.enter(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn this_host_has_all_there_are() {
        let mut shares = Shares::default();

        let held: Vec<_> = (0..4 * SHARE)
            .map(|_| shares.enter(ip("127.0.0.1")))
            .collect();

        assert!(held.iter().all(Option::is_some));
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let mut shares = Shares::default();
        let held = shares.enter(ip("192.0.2.1"));
        for last in 0..=255 {
            shares.enter(IpAddr::from([203, 0, 113, last]));
        }

        assert!(shares.0.len() <= RESTING_MAX);
        assert!(shares.0.contains_key(&ip("192.0.2.1")), "it is here");
        drop(held);
    }
}
