//! Names of the mesh and their addresses, compiled once for each generation.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use config::mesh::{Address, Mesh, Service, Viewer};
use config::resource::Spec;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::families::Families;

/// Longest name as text, without the dot at its end (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Most addresses of one name and family: an answer by TCP has room for about as many.
const ADDRESSES_MAX: usize = 1_024;

/// What the mesh knows of names. All are in lower case and without a dot at their end.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: FxHashMap<Box<str>, Arc<Addresses>>,
    /// What follows the `*.` of wildcards.
    wildcards: FxHashMap<Box<str>, Arc<Addresses>>,
    /// What resolvers of the workload try behind a short name, in their order.
    suffixes: Vec<Box<str>>,
}

/// The addresses of one name.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Addresses {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    /// Where they come from.
    pub(crate) source: Source,
}

/// Where the addresses of a name come from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The service has them.
    #[default]
    Service,
    /// They were allotted to it.
    Allotted,
    /// They are those of its endpoints.
    Endpoints,
}

// === impl Names ===

impl Names {
    /// The names of all services that `viewer` sees. Addresses are allotted of the families that
    /// the host has: one that cannot be connected to would only be tried first.
    pub(crate) fn compile(mesh: &Mesh, viewer: &Viewer, families: Families) -> Self {
        let domain = mesh.settings().domain.to_ascii_lowercase();
        let suffixes = [
            format!("{}.svc.{domain}", viewer.namespace),
            format!("svc.{domain}"),
            domain,
        ];
        let mut names = Self {
            suffixes: suffixes.map(String::into_boxed_str).into(),
            ..Self::default()
        };
        let services = mesh.visible_services(viewer);
        for service in &services {
            let addresses = addresses(mesh, service, families);
            if !addresses.is_empty() {
                names.add(&service.host, Arc::new(addresses));
            }
        }
        // After all services: no pod takes the name of one.
        for service in services.iter().filter(|service| service.headless) {
            names.add_pods(service);
        }
        names
    }

    /// The addresses of a name in lower case, whichever way of writing it a resolver tries: as it
    /// is, completed, or with something behind it that it did not need.
    ///
    /// A name that somebody has goes before all wildcards.
    pub(crate) fn find(&self, name: &str) -> Option<&Addresses> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let found = self.stems(name).find_map(|stem| self.completed(stem));
        found.or_else(|| self.stems(name).find_map(|stem| self.covered(stem)))
    }

    /// Every name and wildcard with its addresses, sorted.
    pub(crate) fn all(&self) -> Vec<(String, &Addresses)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(name, addresses)| (name.to_string(), &**addresses));
        let wildcards = self.wildcards.iter();
        let wildcards = wildcards.map(|(name, addresses)| (format!("*.{name}"), &**addresses));
        let mut all: Vec<(String, &Addresses)> = exact.chain(wildcards).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The name, and what is left of it without each suffix that it has.
    fn stems<'n>(&self, name: &'n str) -> impl Iterator<Item = &'n str> {
        let shorter = self.suffixes.iter().filter_map(move |suffix| {
            let stem = name.strip_suffix(&**suffix)?.strip_suffix('.')?;
            (!stem.is_empty()).then_some(stem)
        });
        std::iter::once(name).chain(shorter)
    }

    /// The addresses of a name as it is, or with a suffix.
    fn completed(&self, name: &str) -> Option<&Addresses> {
        if let Some(addresses) = self.exact.get(name) {
            return Some(addresses);
        }
        let mut complete = String::with_capacity(NAME_BYTES_MAX);
        let mut found = self.suffixes.iter().filter_map(|suffix| {
            complete.clear();
            complete.push_str(name);
            complete.push('.');
            complete.push_str(suffix);
            self.exact.get(complete.as_str())
        });
        found.next().map(|addresses| &**addresses)
    }

    /// The addresses of the longest wildcard that covers a name.
    fn covered(&self, name: &str) -> Option<&Addresses> {
        if self.wildcards.is_empty() {
            return None;
        }
        let ends = name.match_indices('.').filter(|(at, _)| *at > 0);
        let mut ends = ends.filter_map(|(at, _)| self.wildcards.get(&name[at + 1..]));
        ends.next().map(|addresses| &**addresses)
    }

    /// Adds a host; the first of a name stays.
    fn add(&mut self, host: &str, addresses: Arc<Addresses>) {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let (map, name) = match host.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcards, rest),
            None => (&mut self.exact, host.as_str()),
        };
        // Other wildcards are no names; what is empty or too long cannot be asked for.
        if name.is_empty() || name.contains('*') || name.len() > NAME_BYTES_MAX {
            return;
        }
        map.entry(name.into()).or_insert(addresses);
    }

    /// Adds the host names that endpoints of a headless service have, below its own.
    fn add_pods(&mut self, service: &Service) {
        let slices = service
            .sources
            .iter()
            .filter_map(|resource| match &resource.spec {
                Spec::EndpointSlice(slice) => Some(slice),
                _ => None,
            });
        let mut pods: FxHashMap<String, Addresses> = FxHashMap::default();
        for endpoint in slices.flat_map(|slice| &slice.endpoints) {
            let address = endpoint.addresses.first().and_then(|it| it.parse().ok());
            let (Some(name), Some(address)) = (&endpoint.hostname, address) else {
                continue;
            };
            // A pod of a headless service is found also before it is ready, as its peers need it.
            let pod = pods.entry(format!("{name}.{}", service.host)).or_default();
            pod.source = Source::Endpoints;
            pod.push(address);
        }
        for (name, addresses) in pods {
            self.add(&name, Arc::new(addresses));
        }
    }
}

/// What a service is found at: its own addresses, those of its endpoints if it is headless, else
/// those that were allotted to it.
fn addresses(mesh: &Mesh, service: &Service, families: Families) -> Addresses {
    let mut found = Addresses::default();
    let written = service.addresses.iter().filter_map(|it| single(it));
    written.for_each(|address| found.push(address));
    if !found.is_empty() {
        return found;
    }
    if service.headless {
        found.source = Source::Endpoints;
        let ready = service.endpoints.iter().filter(|endpoint| endpoint.ready);
        for endpoint in ready {
            match &endpoint.address {
                Address::Ip(address) => found.push(*address),
                Address::Name(_) | Address::Unix(_) => {}
            }
        }
        return found;
    }
    if let Some(allotted) = mesh.allotted(service) {
        found.source = Source::Allotted;
        found.v4.extend(families.v4.then_some(allotted.v4));
        found.v6.extend(families.v6.then_some(allotted.v6));
    }
    found
}

/// The address that a text is, or a network of only one.
fn single(text: &str) -> Option<IpAddr> {
    let Some((address, bits)) = text.split_once('/') else {
        return text.parse().ok();
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = match address {
        IpAddr::V4(_) => "32",
        IpAddr::V6(_) => "128",
    };
    (bits == whole).then_some(address)
}

// === impl Addresses ===

impl Addresses {
    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Adds an address once, as long as there is room.
    fn push(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => push(&mut self.v4, address),
            IpAddr::V6(address) => push(&mut self.v6, address),
        }
    }
}

fn push<T: PartialEq>(addresses: &mut Vec<T>, address: T) {
    if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
        addresses.push(address);
    }
}
