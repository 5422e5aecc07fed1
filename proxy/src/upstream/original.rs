//! Destinations whose connections go to the address that their caller asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::telemetry::labels::TrafficId;
use crate::tls::client::Channel;
use crate::upstream::balance::Balancer;
use crate::upstream::destination::{Destination, Policy};
use crate::upstream::endpoint::{Endpoint, EndpointAddr, Member};

/// Most addresses that one destination remembers; the one that was asked for least lately gives way.
const ADDRESSES_MAX: usize = 4_096;

/// How long an address is remembered that nobody asks for and nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);

/// The addresses that callers asked for, each as a destination with one endpoint.
#[derive(Debug)]
pub struct Originals {
    /// What is not one of the destination's endpoints; if none, callers reach nothing else.
    strangers: Option<Strangers>,
    known: Mutex<FxHashMap<SocketAddr, Known>>,
}

/// How addresses are reached of which nothing else is known.
#[derive(Debug)]
pub struct Strangers {
    /// Labels of the traffic in metrics.
    pub traffic: TrafficId,
    /// How they are spoken to.
    pub channel: Channel,
}

#[derive(Debug)]
struct Known {
    destination: Arc<Destination>,
    asked: Instant,
}

// === impl Originals ===

impl Originals {
    /// For destinations with endpoints, of which callers may choose one by its address.
    pub fn of_endpoints() -> Self {
        Self {
            strangers: None,
            known: Mutex::default(),
        }
    }

    /// For destinations that go to any address.
    pub fn of_any(strangers: Strangers) -> Self {
        Self {
            strangers: Some(strangers),
            known: Mutex::default(),
        }
    }

    /// `of` with `addr` as its only endpoint; none if it is none of its endpoints and must be one.
    pub(crate) fn at(&self, of: &Destination, addr: SocketAddr) -> Option<Arc<Destination>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(known) = known.get_mut(&addr) {
            known.asked = now;
            return Some(Arc::clone(&known.destination));
        }
        let only = self.member(of, addr)?;
        if known.len() >= ADDRESSES_MAX {
            let oldest = known.iter().min_by_key(|(_, known)| known.asked);
            if let Some(oldest) = oldest.map(|(addr, _)| *addr) {
                known.remove(&oldest);
            }
        }
        let destination = Arc::new(made(of, only));
        let made = Known {
            destination: Arc::clone(&destination),
            asked: now,
        };
        known.insert(addr, made);
        Some(destination)
    }

    /// Forgets the addresses that nobody has asked for in a long time and nobody uses.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, it| {
            let rested = now.saturating_duration_since(it.asked);
            rested <= IDLE_MAX || it.destination.is_used()
        });
    }

    /// Those that are remembered, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Destination>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .map(|it| Arc::clone(&it.destination))
            .collect()
    }

    /// Whether any address is reached.
    pub(crate) fn takes_any(&self) -> bool {
        self.strangers.is_some()
    }

    /// The endpoint at `addr`, with all that is known of it.
    fn member(&self, of: &Destination, addr: SocketAddr) -> Option<Member> {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let is_asked = |member: &&Member| match &member.endpoint.addr {
            // Callers know the endpoints of a service by its own port.
            EndpointAddr::Tcp(own) => match self.takes_any() {
                true => *own == addr,
                false => own.ip() == addr.ip(),
            },
            EndpointAddr::Unix(_) => false,
        };
        if let Some(member) = of.members().iter().find(is_asked) {
            return Some(member.clone());
        }
        let Strangers { traffic, channel } = self.strangers.as_ref()?;
        Some(Member {
            endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(addr))),
            weight: 1,
            traffic: *traffic,
            locality: None,
            channel: channel.clone(),
        })
    }
}

fn made(of: &Destination, only: Member) -> Destination {
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
        live: Arc::new(of.live.of_address()),
        window: of.window.clone(),
        originals: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addr(host: u16) -> SocketAddr {
        let [high, low] = host.to_be_bytes();
        ([10, 0, high, low], 80).into()
    }

    fn any() -> Originals {
        Originals::of_any(Strangers {
            traffic: TrafficId::UNKNOWN,
            channel: Channel::Plain,
        })
    }

    fn member(host: u16) -> Member {
        Member {
            endpoint: Arc::new(Endpoint::new(EndpointAddr::Tcp(addr(host)))),
            weight: 1,
            traffic: TrafficId::UNKNOWN,
            locality: None,
            channel: Channel::Plain,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_stays_the_same_until_too_many_others_were_asked_for() {
        let of = Destination::nowhere("a.example", 80);
        let originals = any();
        let at = |host| originals.at(&of, addr(host)).expect("any address");
        let first = at(0);
        for host in 1..ADDRESSES_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            at(u16::try_from(host).expect("few"));
        }
        assert!(Arc::ptr_eq(&first, &at(0)));

        tokio::time::advance(Duration::from_millis(1)).await;
        let second = at(1);
        at(u16::MAX);

        assert_eq!(originals.all().len(), ADDRESSES_MAX);
        assert!(Arc::ptr_eq(&first, &at(0)));
        assert!(Arc::ptr_eq(&second, &at(1)));
        let forgotten = at(2).members()[0].endpoint.id;
        let newest = originals
            .all()
            .iter()
            .map(|it| it.members()[0].endpoint.id)
            .max();
        assert_eq!(Some(forgotten), newest, "it was forgotten and made anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_forgotten_that_nobody_asks_for_any_more() {
        let of = Destination::nowhere("a.example", 80);
        let originals = any();
        let at = |host| originals.at(&of, addr(host)).expect("any address");
        let used = at(1);
        let _active = used.members()[0].endpoint.begin();
        at(2);
        tokio::time::advance(IDLE_MAX).await;
        at(3);
        originals.forget_idle(Instant::now());
        assert_eq!(originals.all().len(), 3, "it is not so long yet");

        tokio::time::advance(Duration::from_secs(1)).await;
        originals.forget_idle(Instant::now());

        assert_eq!(originals.all().len(), 2);
        assert!(Arc::ptr_eq(&used, &at(1)), "it is used");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_asked_for_is_the_one_that_balancing_knows() {
        let (one, two) = (member(1), member(2));
        let mut of = Destination::nowhere("kafka.example", 80);
        of.balancer = Balancer::least_request(vec![one, two.clone()]);
        of.originals = Some(Arc::new(Originals::of_endpoints()));
        let of = Arc::new(of);

        let chosen = of.reached(Some(addr(2))).expect("an endpoint");
        let [only] = chosen.members() else {
            panic!("one endpoint");
        };
        assert!(Arc::ptr_eq(&only.endpoint, &two.endpoint));
        for others in [Some(addr(3)), None] {
            let all = of.reached(others).expect("it has endpoints");
            assert_eq!(all.members().len(), 2, "{others:?}");
        }
    }

    #[test]
    fn without_endpoints_and_address_nobody_knows_where_to_go() {
        let mut of = Destination::nowhere("a.example", 80);
        of.originals = Some(Arc::new(any()));

        assert!(Arc::new(of).reached(None).is_none());
    }
}
