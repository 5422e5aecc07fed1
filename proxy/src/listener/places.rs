//! How many connections this process has at once, and how many of them one client.
//!
//! Shared by all workers: one atomic per connection. Clients are counted only where they are limited,
//! behind a lock that is held for one look into a map and is one of several, by the address.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::table::Direction;

/// Parts of the count of clients, each with a lock of its own.
const SHARDS: usize = 16;
/// Bits of an IPv6 address that stand for a client: whoever has one address has all of its network.
const CLIENT_BITS: u32 = 64;

/// The connections that a process may have.
#[derive(Debug)]
pub struct Places {
    open: AtomicUsize,
    max: usize,
    clients: Option<Clients>,
}

/// How many connections a client may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimit {
    /// Most of them.
    pub max: NonZeroU32,
    /// Whether callers of the workload are limited, too, and not those of gateways alone.
    pub inbound: bool,
}

/// The connections of each client that has some.
#[derive(Debug)]
struct Clients {
    limit: ClientLimit,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// Its client, where clients are limited.
    client: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The process has as many as it may have.
    Process,
    /// The client has.
    Client,
}

// === impl Places ===

impl Places {
    /// Room for `max` connections.
    pub fn new(max: usize, clients: Option<ClientLimit>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max,
            clients: clients.map(|limit| Clients {
                limit,
                hasher: RandomState::new(),
                shards: Default::default(),
            }),
        })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Most connections.
    pub fn max(&self) -> usize {
        self.max
    }

    /// A place for a connection of `peer` to a listener of a direction.
    pub(crate) fn enter(
        self: &Arc<Self>,
        direction: Direction,
        peer: Option<IpAddr>,
    ) -> Result<Place, Full> {
        if self.open.fetch_add(1, Relaxed) >= self.max {
            self.open.fetch_sub(1, Relaxed);
            return Err(Full::Process);
        }
        // From here on the place is given back by its drop.
        let mut place = Place {
            places: Arc::clone(self),
            client: None,
        };
        if let Some(clients) = &self.clients
            && let Some(client) = clients.limit.counted(direction, peer)
        {
            if !clients.enter(client) {
                return Err(Full::Client);
            }
            place.client = Some(client);
        }
        Ok(place)
    }
}

// === impl ClientLimit ===

impl ClientLimit {
    /// Whom a connection counts for; none if it is not limited: those of this machine are its own.
    fn counted(&self, direction: Direction, peer: Option<IpAddr>) -> Option<IpAddr> {
        let is_limited = match direction {
            Direction::Gateway => true,
            Direction::Inbound => self.inbound,
            Direction::Outbound => false,
        };
        let peer = peer?.to_canonical();
        if !is_limited || peer.is_loopback() {
            return None;
        }
        Some(match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(addr) => {
                let network = addr.to_bits() >> CLIENT_BITS << CLIENT_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

// === impl Clients ===

impl Clients {
    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.shards[self.hasher.hash_one(client) as usize % SHARDS]
    }

    /// Counts one more connection of a client, unless it has too many.
    fn enter(&self, client: IpAddr) -> bool {
        let shard = self.shard(client).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        let open = shard.entry(client).or_default();
        if *open >= self.limit.max.get() {
            return false;
        }
        *open += 1;
        true
    }

    fn leave(&self, client: IpAddr) {
        let shard = self.shard(client).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut open) = shard.entry(client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Relaxed);
        if let (Some(client), Some(clients)) = (self.client, &self.places.clients) {
            clients.leave(client);
        }
    }
}

// === impl Full ===

impl Full {
    /// The cause in metrics and the log.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Process => "connections_max",
            Self::Client => "connections_per_client",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: u32, inbound: bool) -> Option<ClientLimit> {
        let max = NonZeroU32::new(max).expect("not zero");
        Some(ClientLimit { max, inbound })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn no_more_are_let_in_than_there_is_room_and_who_leaves_makes_some() {
        let places = Places::new(2, None);
        let first = places.enter(Direction::Outbound, None).expect("room");
        let _second = places.enter(Direction::Gateway, None).expect("room");

        let third = places.enter(Direction::Inbound, None);
        assert_eq!(third.err(), Some(Full::Process));
        assert_eq!(places.open(), 2);
        drop(first);

        assert!(places.enter(Direction::Inbound, None).is_ok());
    }

    #[test]
    fn a_client_that_has_all_its_connections_leaves_room_to_others() {
        let places = Places::new(100, limit(2, false));
        let enter = |peer| places.enter(Direction::Gateway, ip(peer));
        let first = enter("192.0.2.1").expect("room");
        let _second = enter("::ffff:192.0.2.1").expect("room");

        assert_eq!(enter("192.0.2.1").err(), Some(Full::Client));
        assert!(enter("192.0.2.2").is_ok());
        assert_eq!(places.open(), 2, "who was refused occupies nothing");
        drop(first);

        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let places = Places::new(100, limit(1, false));
        let _first = places.enter(Direction::Gateway, ip("2001:db8::1"));

        let same = places.enter(Direction::Gateway, ip("2001:db8::ffff:1"));
        assert_eq!(same.err(), Some(Full::Client));
        assert!(
            places
                .enter(Direction::Gateway, ip("2001:db8:0:1::1"))
                .is_ok()
        );
    }

    #[test]
    fn the_workload_itself_and_this_machine_are_not_limited() {
        let gateways = Places::new(100, limit(1, false));
        let all = Places::new(100, limit(1, true));
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(gateways.enter(Direction::Gateway, ip("127.0.0.1")));
            open.push(gateways.enter(Direction::Inbound, ip("192.0.2.1")));
            open.push(all.enter(Direction::Outbound, ip("192.0.2.1")));
            open.push(all.enter(Direction::Inbound, None));
        }

        assert!(open.iter().all(Result::is_ok));
        let _first = all.enter(Direction::Inbound, ip("192.0.2.1"));
        let second = all.enter(Direction::Inbound, ip("192.0.2.1"));
        assert_eq!(second.err(), Some(Full::Client));
    }

    #[test]
    fn clients_that_left_are_forgotten() {
        let places = Places::new(100, limit(1, false));
        for host in 1..=50 {
            let peer = IpAddr::from([192, 0, 2, host]);
            drop(places.enter(Direction::Gateway, Some(peer)));
        }

        let clients = places.clients.as_ref().expect("limited");
        let known = clients.shards.iter();
        assert!(
            known
                .map(|it| it.lock().expect("no panic"))
                .all(|it| it.is_empty())
        );
    }
}
