//! Virtual addresses for hosts that have none, so that what connects to them can be told apart by the
//! address alone.
//!
//! An address follows from namespace and host: every proxy gives a host the same one, and so does the
//! same proxy after a restart, while applications still remember what DNS said before. Where two hosts
//! would have the same one, the host of the older resource keeps it, so that what is added moves nobody.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustc_hash::FxHashMap;

use super::order::Created;
use super::service::{Resolution, Service};
use super::{name, order};
use crate::resource::service_entry::refuses_address;
use crate::resource::{Resource, Spec};

/// Last parts of an IPv4 address that are used: not 0 and 255, which some take for a network and its
/// broadcast.
const LAST_PARTS: u16 = 254;
/// Addresses that there are. A prime, so that every step leads to all of them, and the largest below
/// 256 × [`LAST_PARTS`].
const SLOTS: u16 = 65_011;
/// Network of the IPv4 addresses, a /16 of those that are reserved and routed nowhere (RFC 1112 §4).
const NETWORK_V4: [u8; 2] = [240, 240];
/// Network of the IPv6 addresses, a /48 for benchmarks, which is routed nowhere (RFC 5180 §8).
const NETWORK_V6: [u16; 3] = [0x2001, 0x2, 0];

/// The addresses that were allotted to a host, one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allotted {
    /// Within `240.240.0.0/16`.
    pub v4: Ipv4Addr,
    /// Within `2001:2::/48`.
    pub v6: Ipv6Addr,
}

/// Which host of which namespace has which address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Allotment {
    /// By host; the namespaces that have one under this name.
    slots: FxHashMap<String, Vec<(String, u16)>>,
}

/// A host that needs an address. What is less goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim<'a> {
    created: Created,
    namespace: &'a str,
    host: &'a str,
}

/// Allots an address to each service that needs one.
pub(super) fn allot<'a>(services: impl Iterator<Item = &'a Service>) -> Allotment {
    let claims = services.filter(|service| needs_address(service));
    let claims = claims.map(|service| Claim {
        created: service.sources.first().and_then(|it| age(it)),
        namespace: &service.namespace,
        host: &service.host,
    });
    let mut allotment = Allotment::default();
    for (claim, slot) in places(claims.collect(), SLOTS) {
        let of_host = allotment.slots.entry(claim.host.to_owned()).or_default();
        of_host.push((claim.namespace.to_owned(), slot));
    }
    allotment
}

/// Whether a service is one that nothing but its name tells from others: of a `ServiceEntry` without
/// addresses that does not say that it wants none.
fn needs_address(service: &Service) -> bool {
    let leads_somewhere = match service.resolution {
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => true,
        // Wildcards, and addresses that the caller has to know.
        Resolution::DynamicDns | Resolution::OriginalDestination => false,
    };
    let mut entries = service.sources.iter().filter_map(|resource| {
        let Spec::ServiceEntry(_) = &resource.spec else {
            return None;
        };
        Some(&resource.meta)
    });
    leads_somewhere
        && service.addresses.is_empty()
        && is_entry(service)
        && name::is_single(&service.host)
        && !entries.any(refuses_address)
}

/// Whether a `ServiceEntry` defines the service, and not one of Kubernetes that it adds to.
fn is_entry(service: &Service) -> bool {
    let first = service.sources.first();
    first.is_some_and(|resource| matches!(resource.spec, Spec::ServiceEntry(_)))
}

fn age(resource: &Resource) -> Created {
    let written = resource.meta.creation_timestamp.as_deref();
    written.and_then(order::created)
}

/// A slot for each claim, as far as there are; `slots` is a prime. The older is served first, and
/// each takes the first free slot on its way, so that a slot only ever goes from a younger host to
/// an older one: what is added or removed does not concern the hosts that are older.
fn places(claims: Vec<Claim<'_>>, slots: u16) -> Vec<(Claim<'_>, u16)> {
    // One for each host: services that differ in `exportTo` alone share theirs.
    let mut hosts: BTreeMap<(&str, &str), Claim<'_>> = BTreeMap::new();
    for claim in claims {
        let first = hosts.entry((claim.namespace, claim.host)).or_insert(claim);
        *first = claim.min(*first);
    }
    let mut claims: Vec<Claim<'_>> = hosts.into_values().collect();
    claims.sort_unstable();
    claims.truncate(usize::from(slots));
    let mut taken = vec![false; usize::from(slots)];
    let mut placed = Vec::with_capacity(claims.len());
    for claim in claims {
        let free = |slot: &u16| !taken[usize::from(*slot)];
        if let Some(slot) = claim.way(slots).find(free) {
            taken[usize::from(slot)] = true;
            placed.push((claim, slot));
        }
    }
    placed
}

// === impl Claim ===

impl Claim<'_> {
    /// All slots in the order in which this host wants them, each once.
    fn way(&self, slots: u16) -> impl Iterator<Item = u16> {
        let hash = self.hash();
        let count = u64::from(slots);
        let first = hash % count;
        // Not 0, and less than the prime: the steps come back to the first slot only after the last.
        let step = 1 + (hash >> 32) % (count - 1);
        (0..count).filter_map(move |turn| u16::try_from((first + turn * step) % count).ok())
    }

    /// A number of namespace and host that will be the same in every version: FNV-1a, its bits mixed
    /// once more as short texts leave the high ones alike.
    fn hash(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = self
            .namespace
            .bytes()
            .chain([b'/'])
            .chain(self.host.bytes());
        let hash = bytes.fold(OFFSET, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(PRIME)
        });
        let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ hash >> 33
    }
}

// === impl Allotment ===

impl Allotment {
    /// What was allotted to a service.
    pub(super) fn of(&self, service: &Service) -> Option<Allotted> {
        self.slot(service).map(Allotted::at)
    }

    /// The slot of a service. One of the same host and namespace may have one without it, for those whom it
    /// is exported to.
    pub(super) fn slot(&self, service: &Service) -> Option<u16> {
        if !needs_address(service) {
            return None;
        }
        let of_host = self.slots.get(&service.host)?.iter();
        let mut own = of_host.filter(|(namespace, _)| *namespace == service.namespace);
        own.next().map(|(_, slot)| *slot)
    }

    /// Slots that a service would have if nobody had them: without those who have them its address is
    /// another.
    pub(super) fn wanted(&self, service: &Service) -> Vec<u16> {
        let Some(own) = self.slot(service) else {
            return Vec::new();
        };
        let claim = Claim {
            created: None,
            namespace: &service.namespace,
            host: &service.host,
        };
        claim.way(SLOTS).take_while(|slot| *slot != own).collect()
    }
}

// === impl Allotted ===

impl Allotted {
    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    fn at(slot: u16) -> Self {
        let (third, last) = (slot / LAST_PARTS, slot % LAST_PARTS + 1);
        let [first, second] = NETWORK_V4;
        // Both are below 256.
        let v4 = [first, second, third as u8, last as u8];
        let [a, b, c] = NETWORK_V6;
        Self {
            v4: v4.into(),
            v6: Ipv6Addr::new(a, b, c, 0, 0, 0, third, last),
        }
    }
}

#[cfg(test)]
mod tests;
