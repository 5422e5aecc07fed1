//! Destinations without endpoints of their own: a connection goes to the address that its caller
//! asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::telemetry::labels::TrafficId;
use crate::tls::client::Channel;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, Policy};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};

/// Most addresses that one destination remembers; the one that was asked for least lately gives way.
const ADDRESSES_MAX: usize = 4_096;

/// The addresses that callers asked for, each as a destination with one endpoint.
#[derive(Debug)]
pub struct Originals {
    /// Labels of the traffic in metrics.
    traffic: TrafficId,
    known: Mutex<FxHashMap<SocketAddr, Known>>,
}

#[derive(Debug)]
struct Known {
    destination: Arc<Destination>,
    asked: Instant,
}

// === impl Originals ===

impl Originals {
    /// Without any address yet.
    pub fn new(traffic: TrafficId) -> Self {
        Self {
            traffic,
            known: Mutex::default(),
        }
    }

    /// `of` with `addr` as its only endpoint.
    pub(crate) fn at(&self, of: &Destination, addr: SocketAddr) -> Arc<Destination> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(known) = known.get_mut(&addr) {
            known.asked = now;
            return Arc::clone(&known.destination);
        }
        if known.len() >= ADDRESSES_MAX {
            let oldest = known.iter().min_by_key(|(_, known)| known.asked);
            if let Some(oldest) = oldest.map(|(addr, _)| *addr) {
                known.remove(&oldest);
            }
        }
        let destination = Arc::new(self.make(of, addr));
        let made = Known {
            destination: Arc::clone(&destination),
            asked: now,
        };
        known.insert(addr, made);
        destination
    }

    /// Those that are remembered, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Destination>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .map(|it| Arc::clone(&it.destination))
            .collect()
    }

    fn make(&self, of: &Destination, addr: SocketAddr) -> Destination {
        let only = Member {
            endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(addr))),
            weight: 1,
            traffic: self.traffic,
            locality: None,
            channel: Channel::Plain,
        };
        Destination {
            key: of.key.clone(),
            // One address has no others that could stand in for it.
            policy: Policy {
                outlier: None,
                check: None,
                ..of.policy.clone()
            },
            balancer: Balancer::least_request(vec![only]),
            traffic: of.traffic,
            rule: of.rule.clone(),
            live: Arc::clone(&of.live),
            window: of.window.clone(),
            originals: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u16) -> SocketAddr {
        let [high, low] = host.to_be_bytes();
        ([10, 0, high, low], 80).into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_stays_the_same_until_too_many_others_were_asked_for() {
        let of = Destination::nowhere("a.example", 80);
        let originals = Originals::new(TrafficId::UNKNOWN);
        let first = originals.at(&of, addr(0));
        for host in 1..ADDRESSES_MAX {
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
            originals.at(&of, addr(u16::try_from(host).expect("few")));
        }
        assert!(Arc::ptr_eq(&first, &originals.at(&of, addr(0))));

        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        let second = originals.at(&of, addr(1));
        originals.at(&of, addr(u16::MAX));

        assert_eq!(originals.all().len(), ADDRESSES_MAX);
        assert!(Arc::ptr_eq(&first, &originals.at(&of, addr(0))));
        assert!(Arc::ptr_eq(&second, &originals.at(&of, addr(1))));
        let forgotten = originals.at(&of, addr(2)).members()[0].endpoint.id;
        let newest = originals
            .all()
            .iter()
            .map(|it| it.members()[0].endpoint.id)
            .max();
        assert_eq!(Some(forgotten), newest, "it was forgotten and made anew");
    }
}
